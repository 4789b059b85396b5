// q4_1: 32 nibbles, an f16 scale and an f16 minimum.
// The contract of this folder is in f32.wgsl.

#import nibbles
// scales [tiles, blocks, 32], 4 bytes each
#import scales

fn load_block(index: u32) -> Block {
    let pair = unpack2x16float(scale_word(index));
    return Block(quant(index), pair.x, pair.y);
}
