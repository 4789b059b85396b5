// The tile of `lora_down_backward` on software Vulkan: the workgroup is one subgroup of 8, whose lanes go through all tokens.

#import spread_subgroup

const SPLITS: u32 = 1u;

var<private> column: u32;

// The eight vec4 of four tokens and eight columns.
fn load(source: u32, index: u32) -> vec4<f32> {
    let token = index >> 1u;
    let own = g[min(token, params.tokens - 1u) * params.rank_fours + column + (index & 1u)];
    return select(vec4<f32>(0.0), own, token < params.tokens);
}

fn add_up(all: u32, own_column: u32, local: vec3<u32>) {
    column = own_column;
    let lane = local.x;
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
    if (all < params.row_fours) {
        finish(four, column, low, high);
    }
}
