// The gradient of `attention` with respect to keys and values (as in arXiv 2205.14135, section B.4):
//   p_t = exp(q_t . k / sqrt(D) - l_t),  dv = sum_t p_t dy_t,  dk = sum_t p_t (dy_t . v - delta_t) q_t / sqrt(D)
// over the tokens t from the key's own on, and over the query heads that share it.
//
//   queries, dy  [tokens, Q]      f32, the first token at position 0
//   kv           the cache of this layer, see kv_layout
//   rows         [tokens, heads]  l and delta, from attention_backward
//   dk, dv       [tokens, K]      f32
//
// A workgroup owns POSITIONS positions of one key head. `tile` says how lanes share the work.

struct Params {
    tokens: u32,
}
#import params

@group(0) @binding(0) var<storage, read> queries: array<vec4<f32>>;
#import kv_read
#import kv_layout
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> rows: array<vec2<f32>>;
@group(0) @binding(20) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(21) var<storage, read_write> dv: array<vec4<f32>>;
override HEADS: u32;
override KV_HEADS: u32;
override FOURS: u32; // D / 4, at most 32; vectors are zero past D
#import tile

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    keys_backward(workgroup.x * POSITIONS, workgroup.y, lane);
}
