// A KV cache of f16, read four values at a time.
@group(0) @binding(1) var<storage, read> kv: array<vec2<u32>>; // [C / 32, 2 (keys, values), 32 * K / 4], see kv_layout

fn kv_read(four: u32) -> vec4<f32> {
    let words = kv[four];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
