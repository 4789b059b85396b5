// A KV cache of f16, a pair to a word.
@group(0) @binding(23) var<storage, read_write> kv: array<u32>; // [C, 2 (keys, values), K / 2]

fn kv_write(pair: u32, value: vec2<f32>) {
    kv[pair] = pack2x16float(value);
}
