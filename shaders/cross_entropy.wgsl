// loss_t = log(sum_v exp(logits[t, v])) - sum_v q_tv logits[t, v]: the cross-entropy of each token with its targets q, in nats.
//
//   q        [tokens, V]  of `targets`: token ids, or those and another model's probabilities; without a target, no loss
//   logits   [tokens, V]  f32
//   losses   [tokens]     f32
//
// A workgroup owns one token; sums are f32, taken after the largest logit was subtracted.

struct Params {
    vocab: u32, // V
}
#import params

#import targets
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(20) var<storage, read_write> losses: array<f32>;
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = workgroup.x;
    let first = token * params.vocab;
    var most = logits[first];
    for (var i = lane; i < params.vocab; i += LANES) {
        most = max(most, logits[first + i]);
    }
    most = reduce_max(most, lane);
    var sums = vec4<f32>(0.0); // of exponentials, of wanted logits
    for (var i = lane; i < params.vocab; i += LANES) {
        let logit = logits[first + i] - most;
        let share = target_share(token, i);
        sums += vec4<f32>(exp(logit), select(0.0, share * logit, share > 0.0), 0.0, 0.0);
    }
    sums = reduce_sum(sums, lane);
    if (lane == 0u) {
        losses[token] = target_mass(token) * log(sums.x) - sums.y;
    }
}
