// q5_k: 256 values of five bits in eight sub-blocks, with scales and minima of 6 bits. Behind those a word of fifth bits
// for each sub-block.
// The contract of this folder is in f32.wgsl.

#import fifth_bits
#import sub_blocks
const SCALES: u32 = 13u;

fn load_block(index: u32) -> Block {
    let pair = scale_and_offset(index);
    return Block(quant(index), scale_of(index, 5u + sub_block(index)), pair.x, pair.y);
}
