// Y = epilogue(X W^T + H B^T): a weight matrix times many vectors, for prefill.
//
//   X   [tokens, columns]  f32
//   W   [rows, columns]    packed in tiles of 32 rows by `weights`
//   H, B                   the low-rank update of `adapter`, where there is one
//
// A workgroup owns one tile of rows (x) and TOKENS tokens (y), and decodes each weight once for all of
// them. `tile` says how lanes share the work. Sums are f32. Tokens past the end are computed from the
// last one and not stored.

struct Params {
    blocks: u32,     // columns / 32
    first_tile: u32, // of this slice of the matrix
    position: u32,   // of the first token, for epilogues that need one
    tokens: u32,
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // [tokens, columns / 4]
#import weights
#import adapter
#import next
#import epilogue
#import tile

@compute @workgroup_size(LANES, GROUPS, SLICES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    multiply(workgroup.x * params.blocks, params.first_tile + workgroup.x, workgroup.y * TOKENS, local);
}
