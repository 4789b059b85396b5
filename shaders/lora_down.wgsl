// Y = scale X M: a product with a thin matrix, the way down of a low-rank update (arXiv 2106.09685) and, with B for M
// and a gradient for X, the way back up.
//
//   X  [tokens, rows]  f32
//   M  [rows, rank]    f32; A transposed, or B; rank a multiple of 8
//   Y  [tokens, rank]  f32
//
// A workgroup owns 4 LANES tokens (x), of which a lane owns four, and eight columns (y). Sums are f32, in the order of
// the rows.

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
#import spread

var<private> column: u32;

// The eight vec4 of four rows and eight columns.
fn load(source: u32, index: u32) -> vec4<f32> {
    return m[(index >> 1u) * params.rank_fours + column + (index & 1u)];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    column = workgroup.y * 2u;
    let first = workgroup.x * 4u * LANES + lane;
    let all = vec4<u32>(first) + LANES * vec4<u32>(0u, 1u, 2u, 3u);
    let at = min(all, vec4<u32>(params.tokens - 1u)) * params.row_fours;
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    for (var i = 0u; i < params.row_fours; i++) {
        let own = spread(0u, 8u * i, lane);
        let left = mat4x4<f32>(own[0], own[2], own[4], own[6]);
        let right = mat4x4<f32>(own[1], own[3], own[5], own[7]);
        var four = mat4x4<f32>();
        four[0] = x[at.x + i];
        // Of a few tokens, such as the one that is decoded, a lane owns one: reading is what takes the time.
        if (params.tokens > LANES) {
            four[1] = x[at.y + i];
            four[2] = x[at.z + i];
            four[3] = x[at.w + i];
        }
        low += left * four;
        high += right * four;
    }
    for (var j = 0u; j < 4u; j++) {
        if (all[j] < params.tokens) {
            y[all[j] * params.rank_fours + column] = params.scale * low[j];
            y[all[j] * params.rank_fours + column + 1u] = params.scale * high[j];
        }
    }
}
