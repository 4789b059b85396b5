// dx += the gradient of `rms_norm` with respect to its input:
//   dx_i += (g_i - x_i * sum_j(g_j x_j) / (H m)) / sqrt(m),  g = dy * gamma,  m = mean(x^2) + epsilon
//
//   x, dy, dx  [tokens, H]  f32
//   gamma      [H]
//
// A workgroup owns one token; sums are f32.

struct Params {
    fours: u32, // H / 4
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(20) var<storage, read_write> dx: array<vec4<f32>>;
override EPSILON: f32;
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * params.fours;
    var sums = vec4<f32>(0.0); // squares, products
    for (var i = lane; i < params.fours; i += LANES) {
        let four = x[first + i];
        sums += vec4<f32>(dot(four, four), dot(four, dy[first + i] * gamma[i]), 0.0, 0.0);
    }
    sums = reduce_sum(sums, lane);
    let count = f32(params.fours * 4u);
    let mean = sums.x / count + EPSILON;
    let factor = 1.0 / sqrt(mean);
    let along = sums.y / (count * mean);
    for (var i = lane; i < params.fours; i += LANES) {
        dx[first + i] += (dy[first + i] * gamma[i] - x[first + i] * along) * factor;
    }
}
