// loss_t = log(sum_v exp(logits[t, v])) - logits[t, target_t]: the cross-entropy of each token, in nats.
//
//   logits   [tokens, V]  f32
//   targets  [tokens]     token ids; a token whose target is no id has no loss
//   losses   [tokens]     f32
//
// A workgroup owns one token; sums are f32, taken after the largest logit was subtracted.

struct Params {
    vocab: u32, // V
}
#import params

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(20) var<storage, read_write> losses: array<f32>;
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * params.vocab;
    var most = logits[first];
    for (var i = lane; i < params.vocab; i += LANES) {
        most = max(most, logits[first + i]);
    }
    most = reduce_max(most, lane);
    var sum = 0.0;
    for (var i = lane; i < params.vocab; i += LANES) {
        sum += exp(logits[first + i] - most);
    }
    sum = reduce_sum(vec4<f32>(sum), lane).x;
    if (lane == 0u) {
        let target_id = targets[workgroup.x];
        let loss = log(sum) + most - logits[first + min(target_id, params.vocab - 1u)];
        losses[workgroup.x] = select(0.0, loss, target_id < params.vocab);
    }
}
