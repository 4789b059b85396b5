// The tile of `lora_down_backward` on a GPU: eight groups of lanes share out the tokens, and add up in workgroup memory, half
// of them to the other half.

const LANES: u32 = 32u;
const SPLITS: u32 = 8u;

var<workgroup> lows: array<mat4x4<f32>, 128>; // [SPLITS / 2, LANES]
var<workgroup> highs: array<mat4x4<f32>, 128>;

fn add_up(all: u32, column: u32, local: vec3<u32>) {
    let four = min(all, params.row_fours - 1u);
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    for (var token = local.y; token < params.tokens; token += SPLITS) {
        let row = x[token * params.row_fours + four];
        let own = token * params.rank_fours + column;
        let left = g[own];
        let right = g[own + 1u];
        // Whole matrices: one of DirectX's compilers takes no column that is chosen in a loop it cannot unroll.
        low += mat4x4<f32>(row * left.x, row * left.y, row * left.z, row * left.w);
        high += mat4x4<f32>(row * right.x, row * right.y, row * right.z, row * right.w);
    }
    for (var half = SPLITS / 2u; half > 0u; half /= 2u) {
        if (local.y >= half && local.y < 2u * half) {
            lows[(local.y - half) * LANES + local.x] = low;
            highs[(local.y - half) * LANES + local.x] = high;
        }
        workgroupBarrier();
        if (local.y < half) {
            low += lows[local.y * LANES + local.x];
            high += highs[local.y * LANES + local.x];
        }
        workgroupBarrier();
    }
    if (local.y == 0u && all < params.row_fours) {
        finish(four, column, low, high);
    }
}
