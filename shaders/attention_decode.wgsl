// Attention of one new token: y = softmax(q K^T / sqrt(D)) V over all positions up to its own.
//
//   state    token, position
//   queries  [Q]  rotated, f32
//   kv       the cache of this layer, see kv_layout; the token's own key and value are in it
//   y        [Q]  f32; of several splits their parts, as attention_combine takes them
//   A             of the low-rank update that y goes to, where there is one: see `next`
//
// A workgroup owns SHARED query heads that read the same keys, and one of `splits` ranges of the positions. Lanes own positions
// while scores are computed and dimensions while values are summed; `attend` says how they exchange. Online softmax (arXiv
// 1805.02867), sums in f32.

struct Params {
    splits: u32,
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

const RANGE_STEP: u32 = 128u; // positions of a range are a multiple of this: what lanes go through at a time

var<private> split: u32;

// What a lane has of a head: a sum of values, the largest score and the sum of the weights.
fn finish(four: u32, sum: vec4<f32>, most: f32, total: f32) {
    if (params.splits == 1u) {
        for (var i = 0u; i < 4u; i++) {
            y[4u * four + i] = sum[i] / total;
            next_add(4u * four + i, sum[i] / total);
        }
    } else {
        let first = (four / FOURS * params.splits + split) * (4u * FOURS + 2u);
        for (var i = 0u; i < 4u; i++) {
            y[first + 4u * (four % FOURS) + i] = sum[i];
        }
        if (four % FOURS == 0u) {
            y[first + 4u * FOURS] = most;
            y[first + 4u * FOURS + 1u] = total;
        }
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = workgroup.x * SHARED;
    let keys = state.y + 1u;
    let step = params.splits * RANGE_STEP;
    let range = (keys + step - 1u) / step * RANGE_STEP;
    split = workgroup.y;
    let first = split * range;
    attend(head * FOURS, head / (HEADS / KV_HEADS) * FOURS, first, min(first + range, keys), lane);
    next_finish(workgroup.x, lane, LANES);
}
