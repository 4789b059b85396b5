// Blocks of 32 values of five bits: the low four, and a word of fifth bits, of which bit i of byte k is that of column
// 4i + k.

#import low_nibbles

struct Block {
    quants: vec4<u32>,
    fifths: u32,
    scale: f32,
    offset: f32,
}

fn values(block: Block, i: u32) -> vec4<f32> {
    let low = low_nibbles(block.quants, i) & 0x0f0f0f0fu;
    let high = (block.fifths >> i) & 0x01010101u;
    return vec4<f32>(unpack4xU8(low | (high << 4u)));
}
