// Scales of blocks, and what else is not among their quants, in a texture, 4 bytes to a texel; see
// the format's file for their order, and `quants_texture` for the reason.
#import texture_rows
@group(0) @binding(11) var scales: texture_storage_2d<r32uint, read>;

fn scale_word(index: u32) -> u32 {
    return textureLoad(scales, vec2<u32>(index % ROW_OF_ONE, index / ROW_OF_ONE)).x;
}
