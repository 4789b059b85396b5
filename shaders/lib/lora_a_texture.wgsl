// A of a low-rank update of one token in a texture, four numbers to a texel: see `quants_texture`.
#import texture_rows
@group(0) @binding(14) var a: texture_storage_2d<rgba32uint, read>;

fn lora_a(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(textureLoad(a, vec2<u32>(index % ROW_OF_FOUR, index / ROW_OF_FOUR)));
}
