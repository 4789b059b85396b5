// Attention of one new token whose positions several workgroups have shared out: of each head the parts of its ranges,
//   y = sum_s e_s z_s / sum_s e_s t_s  with  e_s = exp(m_s - max m),
// where z, m and t are a range's sum of values, its largest score and its sum of weights (as in FlashDecoding, and
// arXiv 2205.14135, section 3.1).
//
//   parts  [heads, splits, D + 2]  f32, z then m then t: from attention_decode
//   y      [Q]                     f32
//   A                              of the low-rank update that y goes to, where there is one: see `next`
//
// A workgroup owns a head, a lane a dimension.

struct Params {
    splits: u32,
}
#import params

@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(20) var<storage, read_write> y: array<f32>;
override HEADS: u32;
override DIMENSIONS: u32; // D, at most LANES
#import next

const LANES: u32 = 128u;

// Keeps a number behind y.
fn next_keep(index: u32, value: f32) {
    y[HEADS * DIMENSIONS + index] = value;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = workgroup.x;
    let stride = DIMENSIONS + 2u;
    let first = head * params.splits * stride;
    let end = first + params.splits * stride;
    var most = -1e30;
    for (var part = first; part < end; part += stride) {
        most = max(most, parts[part + DIMENSIONS]);
    }
    var sum = 0.0;
    var total = 0.0;
    let own = min(lane, DIMENSIONS - 1u);
    for (var part = first; part < end; part += stride) {
        let weight = exp(parts[part + DIMENSIONS] - most);
        sum += weight * parts[part + own];
        total += weight * parts[part + DIMENSIONS + 1u];
    }
    if (lane < DIMENSIONS) {
        let row = head * DIMENSIONS + lane;
        y[row] = sum / total;
        next_add(row, sum / total);
    }
    next_finish(head, lane, LANES);
}
