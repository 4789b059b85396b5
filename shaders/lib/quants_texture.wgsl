// Quantised values in a texture, 16 bytes to a texel: see the format's file for their
// order. Software Vulkan gathers the texels of a subgroup at once; a buffer it reads lane by lane.
#import texture_rows
@group(0) @binding(10) var quants: texture_storage_2d<rgba32uint, read>;

fn quant(index: u32) -> vec4<u32> {
    return textureLoad(quants, vec2<u32>(index % ROW_OF_FOUR, index / ROW_OF_FOUR));
}
