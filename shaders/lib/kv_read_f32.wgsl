// A KV cache of f32, read four values at a time.
@group(0) @binding(1) var<storage, read> kv: array<vec4<f32>>; // [C / 32, 2 (keys, values), 32 * K / 4], see kv_layout

fn kv_read(four: u32) -> vec4<f32> {
    return kv[four];
}
