// A of a low-rank update of one token in a texture, four numbers to a texel, rows of 2048 texels: see `quants_texture`.
@group(0) @binding(14) var a: texture_storage_2d<rgba32uint, read>;

fn lora_a(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(textureLoad(a, vec2<u32>(index & 2047u, index >> 11u)));
}
