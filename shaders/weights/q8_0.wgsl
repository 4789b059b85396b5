// q8_0: 32 signed bytes and one f16 scale; two rows share a word of scales.
// The contract of this folder is in f32.wgsl.

// quants [tiles, blocks, 2, 32], 16 bytes each
#import quants
// scales [tiles, blocks, 16], 4 bytes each
#import scales

struct Block {
    low: vec4<u32>,
    high: vec4<u32>,
    scale: f32,
    offset: f32,
}

fn load_block(index: u32) -> Block {
    let base = (index >> 5u) * 64u + (index & 31u);
    let scale = unpack2x16float(scale_word(index >> 1u));
    return Block(quant(base), quant(base + 32u), select(scale.x, scale.y, (index & 1u) == 1u), 0.0);
}

fn values(block: Block, i: u32) -> vec4<f32> {
    let words = select(block.low, block.high, vec4<bool>(i > 3u));
    return vec4<f32>(unpack4xI8(words[i & 3u]));
}
