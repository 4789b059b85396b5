// q6_k: 256 values of six bits, less 32, a signed scale of 8 bits for 16 columns each, and one f16 scale for all.
// The contract of this folder is in f32.wgsl.

// quants [tiles, blocks, 32], 16 bytes each: the low four bits, in the order of `nibbles`
#import quants
// scales [tiles, blocks / 8, 21, 32], 4 bytes each: the scale of all and two bytes of nothing; those of 16 columns, four to
// a word; two words for each block of 32 columns with the two high bits, bits 2i and 2i + 1 of byte k those of column
// 4i + k of the word's 16
#import scales

struct Block {
    quants: vec4<u32>,
    high: vec2<u32>,
    scales: vec2<f32>,
    scale: f32,
    offset: f32,
}

fn load_block(index: u32) -> Block {
    let base = (index >> 8u) * (21u * 32u) + (index & 31u);
    let block = (index >> 5u) & 7u;
    let scales = unpack4xI8(scale_word(base + 32u * (1u + block / 2u)) >> (16u * (block & 1u)));
    let high = base + 32u * (5u + 2u * block);
    return Block(
        quant(index),
        vec2<u32>(scale_word(high), scale_word(high + 32u)),
        vec2<f32>(scales.xy),
        unpack2x16float(scale_word(base)).x,
        0.0,
    );
}

fn values(block: Block, i: u32) -> vec4<f32> {
    let half = i >> 2u;
    let low = (block.quants[i & 3u] >> (i & 4u)) & 0x0f0f0f0fu;
    let high = (block.high[half] >> (2u * (i & 3u))) & 0x03030303u;
    return block.scales[half] * (vec4<f32>(unpack4xU8(low | (high << 4u))) - 32.0);
}
