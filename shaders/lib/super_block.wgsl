// Where the scales of formats lie whose blocks are of 256 columns, eight sub-blocks of 32: SCALES words, which the importer
// declares, one row beside the other.

// scales [tiles, blocks / 8, SCALES, 32], 4 bytes each
#import scales

// A word of the block of 256 that block `index` of 32 columns belongs to.
fn scale_of(index: u32, word: u32) -> u32 {
    return scale_word(((index >> 8u) * SCALES + word) * 32u + (index & 31u));
}

// Which of the eight it is.
fn sub_block(index: u32) -> u32 {
    return (index >> 5u) & 7u;
}

// Both f16 numbers of a word. The scales of 256 small weights may be below 2^-14, which a GPU may take for zero: those are
// made of integers.
fn halves_of(word: u32) -> vec2<f32> {
    let bits = vec2<u32>(word & 0xffffu, word >> 16u);
    let small = vec2<f32>(bits & vec2<u32>(0x3ffu)) * 0x1p-24f;
    let signed = select(small, -small, (bits & vec2<u32>(0x8000u)) != vec2<u32>(0u));
    return select(unpack2x16float(word), signed, (bits & vec2<u32>(0x7c00u)) == vec2<u32>(0u));
}
