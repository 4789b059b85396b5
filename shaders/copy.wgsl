// y = x: what a GPU's memory can do, for the bench to compare kernels with.
//
//   x, y  [count]  f32, count a multiple of 4
//
// Lanes of a workgroup take neighbours, so that every access is coalesced.

struct Params {
    fours: u32, // count / 4
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // [count / 4]
@group(0) @binding(20) var<storage, read_write> y: array<vec4<f32>>; // [count / 4]
override LANES: u32 = 64u;
const FOURS: u32 = 1024u; // vec4 that a workgroup owns

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * FOURS + lane;
    for (var i = first; i < min(first + FOURS, params.fours); i += LANES) {
        y[i] = x[i];
    }
}
