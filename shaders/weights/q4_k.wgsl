// q4_k: 256 nibbles in eight sub-blocks, with scales and minima of 6 bits.
// The contract of this folder is in f32.wgsl.

#import nibbles
#import sub_blocks
const SCALES: u32 = 5u;

fn load_block(index: u32) -> Block {
    let pair = scale_and_offset(index);
    return Block(quant(index), pair.x, pair.y);
}
