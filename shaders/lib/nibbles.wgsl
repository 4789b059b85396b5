// Blocks of 32 nibbles.

#import low_nibbles

struct Block {
    quants: vec4<u32>,
    scale: f32,
    offset: f32,
}

fn values(block: Block, i: u32) -> vec4<f32> {
    let word = low_nibbles(block.quants, i);
    return vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u));
}
