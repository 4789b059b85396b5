// y = x / rms(x) * gamma, rms(x) = sqrt(mean(x^2) + epsilon): RMSNorm (arXiv 1910.07467) of each token.
//
//   x      [tokens, H]  f32
//   gamma  [H]          f32
//   y      [tokens, H]  f32
//
// A workgroup owns one token; squares are summed in f32.

struct Params {
    fours: u32, // H / 4
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(20) var<storage, read_write> y: array<vec4<f32>>;
override EPSILON: f32;
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * params.fours;
    var squares = vec4<f32>(0.0);
    for (var i = lane; i < params.fours; i += LANES) {
        squares += x[first + i] * x[first + i];
    }
    squares = reduce_sum(squares, lane);
    let mean = (squares.x + squares.y + squares.z + squares.w) / f32(params.fours * 4u);
    let factor = 1.0 / sqrt(mean + EPSILON);
    for (var i = lane; i < params.fours; i += LANES) {
        y[first + i] = x[first + i] * factor * gamma[i];
    }
}
