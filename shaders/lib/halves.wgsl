// Blocks of 32 values of 16 bits, two to a word.

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

// The words of columns 4i..4i+3.
fn words_of(block: Block, i: u32) -> vec2<u32> {
    let four = block.words[i >> 1u];
    return select(four.xy, four.zw, (i & 1u) == 1u);
}
