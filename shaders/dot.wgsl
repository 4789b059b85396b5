// sums[index + i] += x . y over the i-th share of two vectors: gradients of gates, and the size of gradients.
//
//   x, y  [count]  f32, count a multiple of 4
//
// A workgroup owns `share` neighbouring vec4; sums are f32. Always a wide one: Mesa's software driver ends a shader's
// loops after 65,535 turns, which eight lanes would exceed for a gate of a long text.

struct Params {
    fours: u32, // count / 4
    share: u32, // vec4 a workgroup
    index: u32,
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(20) var<storage, read_write> sums: array<f32>;
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * params.share;
    var own = vec4<f32>(0.0);
    for (var i = first + lane; i < min(first + params.share, params.fours); i += LANES) {
        own = fma(x[i], y[i], own);
    }
    own = reduce_sum(own, lane);
    if (lane == 0u) {
        sums[params.index + workgroup.x] += own.x + own.y + own.z + own.w;
    }
}
