// Logits become the gradient of `cross_entropy`: dlogits[t, v] = scale (softmax(logits[t])_v - [v = target_t]).
//
//   targets  [tokens]     token ids; a token whose target is no id has no gradient
//   logits   [tokens, V]  f32, overwritten
//
// A workgroup owns one token; sums are f32, taken after the largest logit was subtracted.

struct Params {
    vocab: u32, // V
    scale: f32, // of this text's tokens in the loss
}
#import params

@group(0) @binding(0) var<storage, read> targets: array<u32>;
@group(0) @binding(20) var<storage, read_write> logits: array<f32>;
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * params.vocab;
    let target_id = targets[workgroup.x];
    let scale = select(0.0, params.scale, target_id < params.vocab);
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
    for (var i = lane; i < params.vocab; i += LANES) {
        let p = exp(logits[first + i] - most) / sum;
        logits[first + i] = scale * (p - select(0.0, 1.0, i == target_id));
    }
}
