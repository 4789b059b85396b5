// The gradient of `router_score` (two routers) with respect to their weights: dw_k += sum_t dz_kt x_t, where dz was
// divided by each token's rms in router_score_backward.
//
//   x   [tokens, H]  f32
//   dz  [2, C]
//   dw  [2, H]
//
// An invocation owns four columns; sums are f32, in the order of the tokens.

struct Params {
    tokens: u32,
    fours: u32,  // H / 4
    stride: u32, // C
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dz: array<f32>;
@group(0) @binding(20) var<storage, read_write> dw: array<vec4<f32>>;
override LANES: u32 = 8u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let four = invocation.x;
    if (four >= params.fours) {
        return;
    }
    var attn = vec4<f32>(0.0);
    var mlp = vec4<f32>(0.0);
    for (var token = 0u; token < params.tokens; token++) {
        let own = x[token * params.fours + four];
        attn = fma(own, vec4<f32>(dz[token]), attn);
        mlp = fma(own, vec4<f32>(dz[params.stride + token]), mlp);
    }
    dw[four] += attn;
    dw[params.fours + four] += mlp;
}
