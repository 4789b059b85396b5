// The gradient of `gate` with respect to what the sigmoid of each token's score takes: with dg the gradient of the
// loss with respect to the gate,
//   ds = dg g (1 - g) / (temperature s (1 - s)),  dz_t = ds p_t (1 - p_t) / tokens,  db += sum_t dz_t
// A hard gate passes the gradient that the soft one would have (straight-through).
//
//   p       [2, C]   scores of the prompt's tokens
//   gates   [2, 64]  g, s, dg of attention and MLP
//   dz      [2, C]
//   db      [2]      the gradient of the routers' biases
//
// One workgroup.

struct Params {
    tokens: u32,
    stride: u32, // C
    temperature: f32,
}
#import params

@group(0) @binding(0) var<storage, read> p: array<f32>;
@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(20) var<storage, read_write> dz: array<f32>;
@group(0) @binding(21) var<storage, read_write> db: array<f32>;
#import reduce
#import gate_slots

fn mean_gradient(router: u32) -> f32 {
    let s = gates[router * STRIDE + SCORE];
    // g (1 - g) without a difference, which would cancel where the gate is all but open
    let e = exp(-abs(log(s / (1.0 - s))) / params.temperature);
    let slope = e / ((1.0 + e) * (1.0 + e));
    return gates[router * STRIDE + GRADIENT] * slope / (params.temperature * s * (1.0 - s) * f32(params.tokens));
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    let d = vec2<f32>(mean_gradient(0u), mean_gradient(1u));
    var sums = vec4<f32>(0.0);
    for (var i = lane; i < params.tokens; i += LANES) {
        let score = vec2<f32>(p[i], p[params.stride + i]);
        let own = d * score * (1.0 - score);
        dz[i] = own.x;
        dz[params.stride + i] = own.y;
        sums += vec4<f32>(own, 0.0, 0.0);
    }
    sums = reduce_sum(sums, lane);
    if (lane == 0u) {
        db[0] += sums.x;
        db[1] += sums.y;
    }
}
