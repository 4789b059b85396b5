// The gates of one layer from its routers' scores: s = mean_t(p_t), g = sigmoid(logit(s) / temperature), which nears
// the step at 0.5 as the temperature falls.
//
//   p     [2, C]   scores of the prompt's tokens, from router_score
//   gates [2, 64]  of attention and MLP: g, s, the gradient of the loss with respect to g; the rest is padding, so
//                  that each can be bound alone
//
// One workgroup. A hard gate is the step itself, for straight-through gradients.

struct Params {
    tokens: u32,
    stride: u32, // C
    temperature: f32,
    hard: u32,   // 1: the step
}
#import params

@group(0) @binding(0) var<storage, read> p: array<f32>;
@group(0) @binding(20) var<storage, read_write> gates: array<f32>;
#import reduce
#import gate_slots

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sums = vec4<f32>(0.0);
    for (var i = lane; i < params.tokens; i += LANES) {
        sums += vec4<f32>(p[i], p[params.stride + i], 0.0, 0.0);
    }
    sums = reduce_sum(sums, lane);
    if (lane < 2u) {
        let s = clamp(select(sums.x, sums.y, lane == 1u) / f32(params.tokens), 1e-6, 1.0 - 1e-6);
        let soft = 1.0 / (1.0 + exp(-log(s / (1.0 - s)) / params.temperature));
        gates[lane * STRIDE] = select(soft, select(0.0, 1.0, s >= 0.5), params.hard == 1u);
        gates[lane * STRIDE + SCORE] = s;
        gates[lane * STRIDE + GRADIENT] = 0.0;
    }
}
