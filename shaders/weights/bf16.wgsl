// bf16: the upper half of an f32, two to a word.
// The contract of this folder is in f32.wgsl.

#import halves

fn values(block: Block, i: u32) -> vec4<f32> {
    let words = words_of(block, i);
    return bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}
