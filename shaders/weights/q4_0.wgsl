// q4_0: 32 nibbles, less 8, and one f16 scale; two rows share a word of scales. Word j holds
// columns 4j..4j+3 in its low nibbles and columns 16+4j..16+4j+3 in its high ones.
// Weights packed in tiles of 32 rows; index = (tile * blocks + block) * 32 + row of the tile names 32
// consecutive columns of one row. The contract of every file in this folder:
//   load_block(index) -> Block          reads the block once
//   values(block, i)  -> vec4<f32>      columns 4i..4i+3, i in 0..8, before scaling
//   weight = value * block.scale + block.offset

// quants [tiles, blocks, 32], 16 bytes each
#import quants
// scales [tiles, blocks, 16], 4 bytes each
#import scales

struct Block {
    quants: vec4<u32>,
    scale: f32,
    offset: f32,
}

fn load_block(index: u32) -> Block {
    let pair = unpack2x16float(scale_word(index >> 1u));
    let scale = select(pair.x, pair.y, (index & 1u) == 1u);
    return Block(quant(index), scale, -8.0 * scale);
}

fn values(block: Block, i: u32) -> vec4<f32> {
    let word = block.quants[i & 3u] >> (i & 4u);
    return vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u));
}
