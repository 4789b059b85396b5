// Causal attention over a prompt: y_t = softmax(q_t K^T / sqrt(D)) V, for keys up to t's own position.
//
//   queries  [tokens, Q]  rotated, f32
//   kv       the cache of this layer, see kv_layout; the tokens' own keys and values are in it
//   y        [tokens, Q]  f32
//
// A workgroup owns TOKENS tokens of one query head. Keys are taken a few at a time with an online softmax (arXiv
// 1805.02867), so scores never leave the workgroup; sums are f32. `tile` says how lanes share the work. May read up to
// seven positions past the last token, which weigh nothing but must be finite.

struct Params {
    position: u32, // of the first token
    tokens: u32,
}
#import params

@group(0) @binding(0) var<storage, read> queries: array<vec4<f32>>; // [tokens, Q / 4]
#import kv_read
#import kv_layout
@group(0) @binding(20) var<storage, read_write> y: array<vec4<f32>>; // [tokens, Q / 4]
override HEADS: u32;
override KV_HEADS: u32;
override FOURS: u32; // D / 4, at most 32
#import tile

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    attend(workgroup.x * TOKENS, workgroup.y, lane);
}
