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
