// q5_1: 32 values of five bits, an f16 scale and an f16 minimum.
// The contract of this folder is in f32.wgsl.

#import fifth_bits
// scales [tiles, blocks, 2, 32], 4 bytes each: scale and minimum, then the fifth bits
#import scales

fn load_block(index: u32) -> Block {
    let base = (index >> 5u) * 64u + (index & 31u);
    let pair = unpack2x16float(scale_word(base));
    return Block(quant(index), scale_word(base + 32u), pair.x, pair.y);
}
