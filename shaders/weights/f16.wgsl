// f16: IEEE half floats, two to a word.
// Weights packed in tiles of 32 rows; index = (tile * blocks + block) * 32 + row of the tile names 32
// consecutive columns of one row. The contract of every file in this folder:
//   load_block(index) -> Block          reads the block once
//   values(block, i)  -> vec4<f32>      columns 4i..4i+3, i in 0..8, before scaling
//   weight = value * block.scale + block.offset

// quants [tiles, blocks, 4, 32], 16 bytes each
#import quants

struct Block {
    words: array<vec4<u32>, 4>,
    scale: f32,
    offset: f32,
}

fn load_block(index: u32) -> Block {
    let base = (index >> 5u) * 128u + (index & 31u);
    var block: Block;
    for (var i = 0u; i < 4u; i++) {
        block.words[i] = quant(base + i * 32u);
    }
    block.scale = 1.0;
    block.offset = 0.0;
    return block;
}

fn values(block: Block, i: u32) -> vec4<f32> {
    let four = block.words[i >> 1u];
    let pair = select(four.xy, four.zw, (i & 1u) == 1u);
    return vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
}
