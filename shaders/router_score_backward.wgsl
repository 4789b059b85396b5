// The gradient of `router_score` (two routers, with the norm) with respect to the stream that enters the layer:
//   u = x / r,  r = sqrt(mean(x^2) + epsilon),  dx_i += (c_i - u_i sum_j(u_j c_j) / H) / r,  c = sum_k dz_k w_k
//
//   x   [tokens, H]  f32
//   w   [2, H]
//   dx  [tokens, H]
//   dz  [2, C]       the gradient of what the sigmoid takes; divided by r, for router_weights_backward
//
// A workgroup owns one token; sums are f32.

struct Params {
    fours: u32,  // H / 4
    stride: u32, // C
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(20) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(21) var<storage, read_write> dz: array<f32>;
override EPSILON: f32;
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = workgroup.x;
    let first = token * params.fours;
    let d = vec2<f32>(dz[token], dz[params.stride + token]);
    var sums = vec4<f32>(0.0); // squares, products
    for (var i = lane; i < params.fours; i += LANES) {
        let four = x[first + i];
        sums += vec4<f32>(dot(four, four), dot(four, d.x * w[i] + d.y * w[params.fours + i]), 0.0, 0.0);
    }
    sums = reduce_sum(sums, lane);
    let count = f32(params.fours * 4u);
    let mean = sums.x / count + EPSILON;
    let factor = 1.0 / sqrt(mean);
    let along = sums.y / (count * mean);
    for (var i = lane; i < params.fours; i += LANES) {
        dx[first + i] += (d.x * w[i] + d.y * w[params.fours + i] - x[first + i] * along) * factor;
    }
    if (lane < 2u) {
        dz[lane * params.stride + token] = select(d.x, d.y, lane == 1u) * factor;
    }
}
