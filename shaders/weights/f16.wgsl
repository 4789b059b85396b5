// f16: IEEE half floats, two to a word.
// The contract of this folder is in f32.wgsl.

#import halves

fn values(block: Block, i: u32) -> vec4<f32> {
    let words = words_of(block, i);
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
