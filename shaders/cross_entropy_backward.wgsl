// Logits become the gradient of the cross-entropy with their targets q: dlogits[t, v] = scale (softmax(logits[t])_v - q_tv).
//
//   q       of `targets`: token ids, or those and another model's probabilities
//   logits  [tokens, V]  f32, overwritten
//
// With probabilities, this is also the gradient of the Kullback-Leibler divergence from them, which differs from the
// cross-entropy by a constant. A workgroup owns one token; sums are f32, taken after the largest logit was subtracted.

struct Params {
    vocab: u32, // V
    scale: f32, // of this text's tokens in the loss
}
#import params

#import targets
@group(0) @binding(20) var<storage, read_write> logits: array<f32>;
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = workgroup.x;
    let first = token * params.vocab;
    let mass = target_mass(token);
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
        logits[first + i] = params.scale * (mass * p - target_share(token, i));
    }
}
