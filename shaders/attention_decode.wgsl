// Attention of one new token: y = softmax(q K^T / sqrt(D)) V over all positions up to its own.
//
//   state    token, position
//   queries  [Q]  rotated, f32
//   kv       the cache of this layer, see kv_layout; the token's own key and value are in it
//   y        [Q]  f32
//   A             of the low-rank update that y goes to, where there is one: see `next`
//
// A workgroup owns SHARED query heads that read the same keys. Lanes own positions while scores are computed and dimensions while
// values are summed; `attend` says how they exchange. Online softmax (arXiv 1805.02867), sums in f32.

struct Params {
    position: u32, // added to the position in `state`
}
#import params

@group(0) @binding(0) var<storage, read> queries: array<vec4<f32>>; // [Q / 4]
#import kv_read
#import kv_layout
@group(0) @binding(2) var<uniform> state: vec4<u32>;
@group(0) @binding(20) var<storage, read_write> y: array<f32>; // by number: four lanes may write to one `vec4` behind it
override HEADS: u32;
override KV_HEADS: u32;
override FOURS: u32; // D / 4, at most 32
override SHARED: u32; // query heads of a workgroup
#import next
#import attend

// Keeps a number behind y.
fn next_keep(index: u32, value: f32) {
    y[4u * HEADS * FOURS + index] = value;
}

fn finish(four: u32, value: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        y[4u * four + i] = value[i];
        next_add(4u * four + i, value[i]);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = workgroup.x * SHARED;
    let keys = state.y + params.position + 1u;
    attend(head * FOURS, head / (HEADS / KV_HEADS) * FOURS, keys, lane);
    next_finish(workgroup.x, lane, LANES);
}
