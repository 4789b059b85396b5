// Blocks of 32 nibbles. Word j holds columns 4j..4j+3 in its low nibbles and columns 16+4j..16+4j+3 in its high ones.

// quants [tiles, blocks, 32], 16 bytes each
#import quants

struct Block {
    quants: vec4<u32>,
    scale: f32,
    offset: f32,
}

fn values(block: Block, i: u32) -> vec4<f32> {
    let word = block.quants[i & 3u] >> (i & 4u);
    return vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u));
}
