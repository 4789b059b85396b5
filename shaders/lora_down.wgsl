// Y = scale X M: a product with a thin matrix, the way down of a low-rank update (arXiv 2106.09685) and, with B for M
// and a gradient for X, the way back up.
//
//   X  [tokens, rows]  f32
//   M  [rows, rank]    f32; A transposed, or B; rank a multiple of 8
//   Y  [tokens, rank]  f32
//
// A workgroup owns TOKENS tokens (x) and eight columns (y). `tile` says how lanes share the work. Sums are f32.

struct Params {
    tokens: u32,
    row_fours: u32,  // rows / 4
    rank_fours: u32, // rank / 4
    scale: f32,
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> m: array<vec4<f32>>;
@group(0) @binding(20) var<storage, read_write> y: array<vec4<f32>>;
#import tile

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    go_down(workgroup.x * TOKENS, workgroup.y * 2u, lane);
}
