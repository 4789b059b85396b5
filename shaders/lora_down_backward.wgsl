// dM += gate X^T G: the gradient of a thin product with respect to its matrix.
//
//   X      [tokens, rows]  f32
//   G      [tokens, rank]  f32, the gradient of what the product gave
//   spans  [rows]          first | end << 16: the columns of M that a row has; the others stay zero
//   gate   [1]
//   dM     [rows, rank]    f32; rank a multiple of 8
//
// A workgroup owns 4 LANES rows (x), of which a lane owns four neighbours, and eight columns (y). `tile` says who goes
// through the tokens. Sums are f32.

struct Params {
    tokens: u32,
    row_fours: u32,  // rows / 4
    rank_fours: u32, // rank / 4
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> spans: array<u32>;
@group(0) @binding(3) var<storage, read> gate: array<f32>;
@group(0) @binding(20) var<storage, read_write> dm: array<f32>;
#import tile

@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    add_up(workgroup.x * LANES + local.x, workgroup.y * 2u, local);
}

// Adds to four rows; `low` and `high` are one column of M each.
fn finish(four: u32, column: u32, low: mat4x4<f32>, high: mat4x4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        let row = 4u * four + j;
        let span = spans[row];
        for (var i = 0u; i < 8u; i++) {
            let at = column * 4u + i;
            if (at >= (span & 0xffffu) && at < (span >> 16u)) {
                let sum = select(high[i & 3u][j], low[i & 3u][j], i < 4u);
                dm[row * params.rank_fours * 4u + at] += gate[0] * sum;
            }
        }
    }
}
