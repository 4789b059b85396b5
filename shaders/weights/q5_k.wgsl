// q5_k: 256 values of five bits in eight sub-blocks, with scales and minima of 6 bits. Behind those a word of fifth bits
// for each sub-block.
// The contract of this folder is in f32.wgsl.

#import fifth_bits
#import sub_blocks
const SCALES: u32 = 13u;

fn load_block(index: u32) -> Block {
    let fifths = scale_word(scales_of(index) + 32u * (5u + sub_block(index)));
    let pair = scale_and_offset(index);
    return Block(quant(index), fifths, pair.x, pair.y);
}
