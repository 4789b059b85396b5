// y[t, v] = exp(y[t, v]) / sum_u(exp(y[t, u])): logits become probabilities.
//
//   y  [tokens, V]  f32
//
// A workgroup owns one token; sums are f32, taken after the largest logit was subtracted.

struct Params {
    vocab: u32, // V
}
#import params

@group(0) @binding(20) var<storage, read_write> y: array<f32>;
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * params.vocab;
    var most = y[first];
    for (var i = lane; i < params.vocab; i += LANES) {
        most = max(most, y[first + i]);
    }
    most = reduce_max(most, lane);
    var sum = 0.0;
    for (var i = lane; i < params.vocab; i += LANES) {
        sum += exp(y[first + i] - most);
    }
    sum = reduce_sum(vec4<f32>(sum), lane).x;
    for (var i = lane; i < params.vocab; i += LANES) {
        y[first + i] = exp(y[first + i] - most) / sum;
    }
}
