// q5_0: 32 values of five bits, less 16, and one f16 scale.
// The contract of this folder is in f32.wgsl.

#import fifth_bits
// scales [tiles, blocks, 2, 32], 4 bytes each: the scale and two bytes of nothing, then the fifth bits
#import scales

fn load_block(index: u32) -> Block {
    let base = (index >> 5u) * 64u + (index & 31u);
    let scale = unpack2x16float(scale_word(base)).x;
    return Block(quant(index), scale_word(base + 32u), scale, -16.0 * scale);
}
