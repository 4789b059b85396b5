// Blocks of 32 values of five bits: nibbles as in `nibbles`, and a word of fifth bits, of which bit i of byte k is that of
// column 4i + k.

// quants [tiles, blocks, 32], 16 bytes each
#import quants

struct Block {
    quants: vec4<u32>,
    fifths: u32,
    scale: f32,
    offset: f32,
}

fn values(block: Block, i: u32) -> vec4<f32> {
    let low = (block.quants[i & 3u] >> (i & 4u)) & 0x0f0f0f0fu;
    let high = (block.fifths >> i) & 0x01010101u;
    return vec4<f32>(unpack4xU8(low | (high << 4u)));
}
