// A KV cache of f32, as pairs.
@group(0) @binding(23) var<storage, read_write> kv: array<vec2<f32>>; // [C, 2 (keys, values), K / 2]

fn kv_write(pair: u32, value: vec2<f32>) {
    kv[pair] = value;
}
