// The gradient of `attention` with respect to its queries (as in arXiv 2205.14135, section B.4):
//   p_s = exp(q . k_s / sqrt(D) - l),  delta = dy . y,  dq = sum_s p_s (dy . v_s - delta) k_s / sqrt(D)
//
//   queries, y, dy  [tokens, Q]      f32, the first token at position 0
//   kv              the cache of this layer, see kv_layout
//   dq              [tokens, Q]      f32
//   rows            [tokens, heads]  l = log(sum_s exp(q . k_s / sqrt(D))), delta: for attention_keys_backward
//
// A workgroup owns TOKENS tokens of one query head. Keys are taken a few at a time, twice: for l, then for the sum.
// `tile` says how lanes share the work. May read up to seven positions past the last token, which weigh nothing but must
// be finite.

struct Params {
    tokens: u32,
}
#import params

@group(0) @binding(0) var<storage, read> queries: array<vec4<f32>>;
#import kv_read
#import kv_layout
@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(20) var<storage, read_write> dq: array<vec4<f32>>;
@group(0) @binding(21) var<storage, read_write> rows: array<vec2<f32>>;
override HEADS: u32;
override KV_HEADS: u32;
override FOURS: u32; // D / 4, at most 32; vectors are zero past D
#import tile

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    attend_backward(workgroup.x * TOKENS, workgroup.y, lane);
}
