// Scales of q4_k and q5_k: 256 columns have a word with an f16 scale and an f16 scale of minima, then four words with a
// scale and a minimum of 6 bits, a byte each, for each of eight sub-blocks of 32 columns.

// scales [tiles, blocks / 8, SCALES, 32], 4 bytes each; SCALES is the importer's
#import scales

// Where the words of a block's 256 columns begin.
fn scales_of(index: u32) -> u32 {
    return (index >> 8u) * (SCALES * 32u) + (index & 31u);
}

// Which of the eight it is.
fn sub_block(index: u32) -> u32 {
    return (index >> 5u) & 7u;
}

// Scale and offset of a block of 32.
fn scale_and_offset(index: u32) -> vec2<f32> {
    let base = scales_of(index);
    let units = unpack2x16float(scale_word(base));
    let pair = scale_word(base + 32u * (1u + sub_block(index) / 2u)) >> (16u * (index >> 5u & 1u));
    return vec2<f32>(units.x * f32(pair & 0xffu), -(units.y * f32(pair >> 8u & 0xffu)));
}
