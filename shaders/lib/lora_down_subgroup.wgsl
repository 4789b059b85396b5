// The tile of `lora_down` on software Vulkan: the workgroup is one subgroup of 8, and a lane owns four tokens. Sums are in
// the order of the rows.

#import spread_subgroup

const TOKENS: u32 = 32u;

var<private> column: u32;

// The eight vec4 of four rows and eight columns.
fn load(source: u32, index: u32) -> vec4<f32> {
    return m[(index >> 1u) * params.rank_fours + column + (index & 1u)];
}

fn go_down(first_token: u32, own_column: u32, lane: u32) {
    column = own_column;
    let all = vec4<u32>(first_token + lane) + LANES * vec4<u32>(0u, 1u, 2u, 3u);
    let at = min(all, vec4<u32>(params.tokens - 1u)) * params.row_fours;
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    for (var i = 0u; i < params.row_fours; i++) {
        let own = spread(0u, 8u * i, lane);
        let left = mat4x4<f32>(own[0], own[2], own[4], own[6]);
        let right = mat4x4<f32>(own[1], own[3], own[5], own[7]);
        var four = mat4x4<f32>();
        four[0] = x[at.x + i];
        // Of a few tokens, the rest of a prompt, a lane owns one: reading is what takes the time.
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
