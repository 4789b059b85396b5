// A KV cache of f32, read four values at a time.
@group(0) @binding(1) var<storage, read> kv: array<vec4<f32>>; // [C, 2 (keys, values), K / 4]

fn kv_read(four: u32) -> vec4<f32> {
    return kv[four];
}
