// Draws a token: temperature, then top-k, top-p and min-p, then one draw by weight.
//
//   logits   [V]  f32
//   weights  [V]  f32, scratch
//   state    token, position: what the next token's dispatches read; its position numbers the draw
//
// Weights are w_i = exp((logit_i - max) / temperature). Each filter is a least weight: top-k's is the k-th
// largest, top-p's the largest at which those kept hold p of what top-k left, min-p's min_p itself (the
// largest weight is 1). As weights from 0 to 1 order like their bits, a threshold is found by bisection over
// the bits, without sorting, until one token lies between the bounds. Equal weights are kept or dropped
// together. One workgroup; sums are f32 in a fixed order, so that a seed gives the same answer each time.
// Always a wide workgroup: Mesa's software driver ends a shader's loops after 65,535 turns, which eight lanes
// would exceed.

struct Params {
    vocab: u32,
    top_k: u32,            // 0 keeps all
    inverse_temperature: f32,
    top_p: f32,
    min_p: f32,
    seed: u32,
}
#import params

@group(0) @binding(0) var<storage, read> logits: array<vec4<f32>>; // [V / 4], what is past V is passed over
@group(0) @binding(19) var<storage, read_write> weights: array<vec4<f32>>; // [V / 4], scratch, zeros past V
@group(0) @binding(20) var<storage, read_write> state: array<u32>;   // token, position, 0, 0
#import reduce

var<private> lane: u32;
var<workgroup> between: f32; // tokens that weigh as much as one bound of a search and less than the other

fn fours() -> u32 {
    return (params.vocab + 3u) / 4u;
}

fn ids_of(four: u32) -> vec4<u32> {
    return vec4<u32>(4u * four) + vec4<u32>(0u, 1u, 2u, 3u);
}

// Weights of at least `least`, zeros for the others.
fn keep(weight: vec4<f32>, least: f32) -> vec4<f32> {
    return select(vec4<f32>(0.0), weight, weight >= vec4<f32>(least));
}

// How many tokens weigh at least `least`, and how much they weigh together.
fn kept(least: f32) -> vec2<f32> {
    var count = vec4<f32>(0.0);
    var mass = vec4<f32>(0.0);
    for (var i = lane; i < fours(); i += LANES) {
        let weight = weights[i];
        count += select(vec4<f32>(0.0), vec4<f32>(1.0), weight >= vec4<f32>(least));
        mass += keep(weight, least);
    }
    return reduce_sum(vec4<f32>(dot(count, vec4<f32>(1.0)), dot(mass, vec4<f32>(1.0)), 0.0, 0.0), lane).xy;
}

// The largest weight at which `kept` reaches `count` tokens and `mass`, or one that keeps the same tokens.
fn threshold(count: f32, mass: f32) -> f32 {
    var low = 0u;
    var high = bitcast<u32>(1.0) + 1u;
    var kept_low = 4.0 * f32(fours());
    var kept_high = 0.0;
    for (var bit = 0u; bit < 30u; bit++) {
        if (lane == 0u) {
            between = kept_low - kept_high;
        }
        if (workgroupUniformLoad(&between) <= 1.0) {
            break;
        }
        let middle = (low + high) / 2u;
        let found = kept(bitcast<f32>(middle));
        let enough = found.x >= count && found.y >= mass;
        low = select(low, middle, enough);
        kept_low = select(kept_low, found.x, enough);
        high = select(middle, high, enough);
        kept_high = select(found.x, kept_high, enough);
    }
    return bitcast<f32>(low);
}

// A number in [0, 1) from seed and position (the PCG output function, jcgt.org/published/0009/03/02).
fn uniform_random(seed: u32, position: u32) -> f32 {
    var word = (seed ^ (position * 2654435769u)) * 747796405u + 2891336453u;
    for (var round = 0u; round < 2u; round++) {
        word = ((word >> ((word >> 28u) + 4u)) ^ word) * 277803737u;
        word = (word >> 22u) ^ word;
    }
    return f32(word >> 8u) / 16777216.0;
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) invocation: u32) {
    lane = invocation;
    var most = logits[0].x;
    for (var i = lane; i < fours(); i += LANES) {
        let four = select(vec4<f32>(most), logits[i], ids_of(i) < vec4<u32>(params.vocab));
        most = max(most, max(max(four.x, four.y), max(four.z, four.w)));
    }
    most = reduce_max(most, lane);
    for (var i = lane; i < fours(); i += LANES) {
        let weight = exp((logits[i] - most) * params.inverse_temperature);
        weights[i] = select(vec4<f32>(0.0), weight, ids_of(i) < vec4<u32>(params.vocab));
    }
    var least = 0.0;
    if (params.top_k > 0u && params.top_k < params.vocab) {
        least = threshold(f32(params.top_k), 0.0);
    }
    if (params.top_p < 1.0) {
        least = max(least, threshold(1.0, params.top_p * kept(least).y));
    }
    least = max(least, params.min_p);

    // Each lane now owns consecutive tokens, written by other lanes above.
    storageBarrier();
    workgroupBarrier();
    let share = (fours() + LANES - 1u) / LANES;
    let first = min(lane * share, fours());
    let end = min(first + share, fours());
    // Padding weighs nothing and must not be kept even if everything is.
    least = max(least, 1e-38);
    var own = 0.0;
    for (var i = first; i < end; i++) {
        own += dot(keep(weights[i], least), vec4<f32>(1.0));
    }
    let before = exclusive_sum(own, lane);
    let drawn = uniform_random(params.seed, state[1]) * reduce_sum(vec4<f32>(own), lane).x;
    // The last lane that begins at or before the drawn mass; none if the logits are not numbers.
    let owner = reduce_max(select(-1.0, f32(lane), own > 0.0 && before <= drawn), lane);
    if (owner < 0.0 && lane == 0u) {
        state[0] = 0xffffffffu;
        state[1] += 1u;
    }
    if (owner == f32(lane)) {
        var sum = before;
        for (var i = first; i < end; i++) {
            let weight = keep(weights[i], least);
            for (var j = 0u; j < 4u; j++) {
                if (weight[j] > 0.0 && sum <= drawn) {
                    state[0] = 4u * i + j;
                    sum += weight[j];
                }
            }
        }
        state[1] += 1u;
    }
}
