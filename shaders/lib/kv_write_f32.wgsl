// A KV cache of f32, as pairs.
@group(0) @binding(23) var<storage, read_write> kv: array<vec2<f32>>; // [C / 32, 2 (keys, values), 32 * K / 2], see kv_layout

fn kv_write(pair: u32, value: vec2<f32>) {
    kv[pair] = value;
}
