// Scales of blocks, and what else is not among their quants, in a texture, 4 bytes to a texel, rows of 8192
// texels: see the format's file for their order, and `quants_texture` for the reason.
@group(0) @binding(11) var scales: texture_storage_2d<r32uint, read>;

fn scale_word(index: u32) -> u32 {
    return textureLoad(scales, vec2<u32>(index & 8191u, index >> 13u)).x;
}
