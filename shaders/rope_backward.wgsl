// The gradient of the rope epilogue: turns the gradients of rotated queries and keys back, and lays them and those of
// the values out in the slots of the joint product, times the gate of the attention.
//
//   dq      [tokens, Q]      f32
//   dk, dv  [tokens, K]      f32
//   gate    [1]
//   dy      [tokens, slots]  f32, row order `pairs`: slots i and i + 16 of a tile are neighbours 2i and 2i + 1
//
// An invocation owns one pair of one token; y goes over tokens.

struct Params {
    tiles: u32, // slots / 32
}
#import params

@group(0) @binding(0) var<storage, read> rotations: array<vec2<f32>>; // [C, D / 2], cos and sin
@group(0) @binding(1) var<storage, read> dq: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> dk: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> dv: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> gate: array<f32>;
@group(0) @binding(20) var<storage, read_write> dy: array<f32>;
override QUERY_ROWS: u32; // Q
override KEY_ROWS: u32;   // K
override HEAD_DIM: u32;   // D
override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let pair = invocation.x;
    let token = workgroup.y;
    if (pair >= params.tiles * 16u) {
        return;
    }
    let row = 2u * pair;
    let turn = rotations[token * (HEAD_DIM / 2u) + (row % HEAD_DIM) / 2u];
    var d = vec2<f32>(0.0);
    if (row < QUERY_ROWS) {
        d = dq[(token * QUERY_ROWS + row) / 2u];
    } else if (row < QUERY_ROWS + KEY_ROWS) {
        d = dk[(token * KEY_ROWS + row - QUERY_ROWS) / 2u];
    } else if (row < QUERY_ROWS + 2u * KEY_ROWS) {
        d = dv[(token * KEY_ROWS + row - QUERY_ROWS - KEY_ROWS) / 2u];
    }
    if (row < QUERY_ROWS + KEY_ROWS) {
        d = vec2<f32>(d.x * turn.x + d.y * turn.y, d.y * turn.x - d.x * turn.y);
    }
    let slot = (token * params.tiles + pair / 16u) * 32u + pair % 16u;
    dy[slot] = gate[0] * d.x;
    dy[slot + 16u] = gate[0] * d.y;
}
