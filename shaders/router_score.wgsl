// p[r, t] = sigmoid(w_r . u_t + b_r), u_t = x_t / rms(x_t): each router's score of each prompt token
// (arXiv 2410.12513; the norm is this project's, see docs/router-file.md).
//
//   x   [tokens, H]   the residual stream that enters the layer, f32
//   w   [routers, H]  one router of a layer, or two: attention and MLP
//   b   [routers]
//   p   [routers, C]  from column `first` on
//
// A workgroup owns four tokens, so that weights are read a quarter as often. Scores are pooled on the host, in the order
// of the tokens, so that a mask does not depend on how the prompt is split into chunks.

struct Params {
    fours: u32,   // H / 4
    routers: u32, // 1 or 2
    first: u32,   // column of p of the first token
    stride: u32,  // C
    tokens: u32,
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(20) var<storage, read_write> p: array<f32>;
override EPSILON: f32;
override NORM: bool = true; // false: u_t = x_t
#import reduce

const TOKENS: u32 = 4u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let last = params.routers - 1u;
    var sums: array<vec4<f32>, TOKENS>; // squares, two dot products
    for (var i = lane; i < params.fours; i += LANES) {
        let first = w[i];
        let second = w[last * params.fours + i];
        for (var t = 0u; t < TOKENS; t++) {
            let token = min(workgroup.x * TOKENS + t, params.tokens - 1u);
            let four = x[token * params.fours + i];
            sums[t] += vec4<f32>(dot(four, four), dot(four, first), dot(four, second), 0.0);
        }
    }
    for (var t = 0u; t < TOKENS; t++) {
        let token = workgroup.x * TOKENS + t;
        let sum = reduce_sum(sums[t], lane);
        let rms = sqrt(sum.x / f32(params.fours * 4u) + EPSILON);
        let factor = select(1.0, 1.0 / rms, NORM);
        if (lane == 0u && token < params.tokens) {
            p[params.first + token] = 1.0 / (1.0 + exp(-(sum.y * factor + b[0])));
            if (last == 1u) {
                p[params.stride + params.first + token] = 1.0 / (1.0 + exp(-(sum.z * factor + b[1])));
            }
        }
    }
}
