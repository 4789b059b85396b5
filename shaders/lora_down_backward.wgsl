// dM += gate X^T G: the gradient of a thin product with respect to its matrix.
//
//   X      [tokens, rows]  f32
//   G      [tokens, rank]  f32, the gradient of what the product gave
//   spans  [rows]          first | end << 16: the columns of M that a row has; the others stay zero
//   gate   [1]
//   dM     [rows, rank]    f32; rank a multiple of 8
//
// A workgroup owns 4 LANES rows (x), of which a lane owns four neighbours, and eight columns (y). Sums are f32, in the
// order of the tokens.

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
#import spread

var<private> column: u32;

// The eight vec4 of four tokens and eight columns.
fn load(source: u32, index: u32) -> vec4<f32> {
    let token = index >> 1u;
    let own = g[min(token, params.tokens - 1u) * params.rank_fours + column + (index & 1u)];
    return select(vec4<f32>(0.0), own, token < params.tokens);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    column = workgroup.y * 2u;
    let all = workgroup.x * LANES + lane;
    let four = min(all, params.row_fours - 1u);
    let last = params.tokens - 1u;
    // one column of M each, of four rows
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    for (var token = 0u; token < params.tokens; token += 4u) {
        let own = spread(0u, 2u * token, lane);
        let rows = mat4x4<f32>(
            x[token * params.row_fours + four],
            x[min(token + 1u, last) * params.row_fours + four],
            x[min(token + 2u, last) * params.row_fours + four],
            x[min(token + 3u, last) * params.row_fours + four],
        );
        low += rows * transpose(mat4x4<f32>(own[0], own[2], own[4], own[6]));
        high += rows * transpose(mat4x4<f32>(own[1], own[3], own[5], own[7]));
    }
    if (all >= params.row_fours) {
        return;
    }
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
