// Scales of q4_k and q5_k: a word with an f16 scale and an f16 scale of minima, then four words with a scale and a minimum
// of 6 bits, a byte each, for each of eight sub-blocks.

#import super_block

// Scale and offset of a block of 32.
fn scale_and_offset(index: u32) -> vec2<f32> {
    let sub = sub_block(index);
    let units = halves_of(scale_of(index, 0u));
    let pair = scale_of(index, 1u + sub / 2u) >> (16u * (sub & 1u));
    return vec2<f32>(units.x * f32(pair & 0xffu), -(units.y * f32((pair >> 8u) & 0xffu)));
}
