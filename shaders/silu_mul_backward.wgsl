// The gradient of the silu_mul epilogue, times the gate of the MLP, and the activation itself once more:
//   y = silu(a) b,  da = gate dy b s (1 + a (1 - s)),  db = gate dy a s,  s = sigmoid(a)
//
//   gate_up   [tokens, slots]  f32, row order `halves`: a gate in slot i of a tile, its up in slot i + 16
//   dy        [tokens, F]      f32
//   gate      [1]
//   y         [tokens, F]      f32
//   dgate_up  [tokens, slots]  f32
//
// An invocation owns one element of one token; y goes over tokens.

struct Params {
    tiles: u32, // slots / 32
}
#import params

@group(0) @binding(0) var<storage, read> gate_up: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> gate: array<f32>;
@group(0) @binding(20) var<storage, read_write> y: array<f32>;
@group(0) @binding(21) var<storage, read_write> dgate_up: array<f32>;
override ROWS: u32; // F
override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let row = invocation.x;
    let token = workgroup.y;
    if (row >= params.tiles * 16u) {
        return;
    }
    let slot = (token * params.tiles + row / 16u) * 32u + row % 16u;
    var d = vec2<f32>(0.0);
    if (row < ROWS) {
        let a = gate_up[slot];
        let b = gate_up[slot + 16u];
        let s = 1.0 / (1.0 + exp(-a));
        let at = token * ROWS + row;
        d = gate[0] * dy[at] * s * vec2<f32>(b * (1.0 + a * (1.0 - s)), a);
        y[at] = a * s * b;
    }
    dgate_up[slot] = d.x;
    dgate_up[slot + 16u] = d.y;
}
