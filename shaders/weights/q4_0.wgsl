// q4_0: 32 nibbles, less 8, and one f16 scale; two rows share a word of scales.
// The contract of this folder is in f32.wgsl.

#import nibbles
// scales [tiles, blocks, 16], 4 bytes each
#import scales

fn load_block(index: u32) -> Block {
    let pair = unpack2x16float(scale_word(index >> 1u));
    let scale = select(pair.x, pair.y, (index & 1u) == 1u);
    return Block(quant(index), scale, -8.0 * scale);
}
