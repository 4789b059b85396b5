// Four bits of 32 values in 16 bytes. Word j holds columns 4j..4j+3 in its low nibbles and columns 16+4j..16+4j+3 in its
// high ones.

// quants [tiles, blocks, 32], 16 bytes each
#import quants

// A word whose four bytes have those of columns 4i..4i+3 in their low nibbles, and others above.
fn low_nibbles(quants: vec4<u32>, i: u32) -> u32 {
    return quants[i & 3u] >> (i & 4u);
}
