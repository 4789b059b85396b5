// q6_k: 256 values of six bits, less 32, a signed scale of 8 bits for 16 columns each, and one f16 scale for all.
// The contract of this folder is in f32.wgsl.

// The low four bits.
#import low_nibbles
// The scale of all and two bytes of nothing; those of 16 columns, four to a word; two words for each block of 32 columns
// with the two high bits, bits 2i and 2i + 1 of byte k those of column 4i + k of the word's 16.
#import super_block
const SCALES: u32 = 21u;

struct Block {
    quants: vec4<u32>,
    high: vec2<u32>,
    scales: vec2<f32>,
    scale: f32,
    offset: f32,
}

fn load_block(index: u32) -> Block {
    let sub = sub_block(index);
    let scales = unpack4xI8(scale_of(index, 1u + sub / 2u) >> (16u * (sub & 1u)));
    return Block(
        quant(index),
        vec2<u32>(scale_of(index, 5u + 2u * sub), scale_of(index, 6u + 2u * sub)),
        vec2<f32>(scales.xy),
        halves_of(scale_of(index, 0u)).x,
        0.0,
    );
}

fn values(block: Block, i: u32) -> vec4<f32> {
    let half = i >> 2u;
    let low = low_nibbles(block.quants, i) & 0x0f0f0f0fu;
    let high = (block.high[half] >> (2u * (i & 3u))) & 0x03030303u;
    return block.scales[half] * (vec4<f32>(unpack4xU8(low | (high << 4u))) - 32.0);
}
