// A KV cache of f16, a pair to a word.
@group(0) @binding(23) var<storage, read_write> kv: array<u32>; // [C / 32, 2 (keys, values), 32 * K / 2], see kv_layout

fn kv_write(pair: u32, value: vec2<f32>) {
    kv[pair] = pack2x16float(value);
}
