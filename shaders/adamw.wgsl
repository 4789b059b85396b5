// One step of AdamW (arXiv 1711.05101) on a run of parameters; gradients are zero afterwards.
//   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= rate (m / c1 / (sqrt(v / c2) + epsilon) + decay w)
// where c1 = 1 - b1^step and c2 = 1 - b2^step.
//
//   w, g, m, v  [count]  f32
//
// An invocation owns one parameter.

struct Params {
    count: u32,
    scale: f32, // of the gradients
    rate: f32,
    decay: f32,
    b1: f32,
    b2: f32,
    c1: f32,
    c2: f32,
    epsilon: f32,
}
#import params

@group(0) @binding(20) var<storage, read_write> w: array<f32>;
@group(0) @binding(21) var<storage, read_write> g: array<f32>;
@group(0) @binding(22) var<storage, read_write> m: array<f32>;
@group(0) @binding(23) var<storage, read_write> v: array<f32>;
override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    let i = invocation.y * workgroups.x * LANES + invocation.x;
    if (i >= params.count) {
        return;
    }
    let gradient = params.scale * g[i];
    let first = params.b1 * m[i] + (1.0 - params.b1) * gradient;
    let second = params.b2 * v[i] + (1.0 - params.b2) * gradient * gradient;
    m[i] = first;
    v[i] = second;
    w[i] -= params.rate * (first / params.c1 / (sqrt(second / params.c2) + params.epsilon) + params.decay * w[i]);
    g[i] = 0.0;
}
