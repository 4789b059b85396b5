// The tile of `lora_down` on a GPU: four tokens, whose rows the lanes share out. The eight vec4 of a lane, two a token, are
// added up in workgroup memory, first by eight lanes each.

const LANES: u32 = 64u;
const TOKENS: u32 = 4u;

var<workgroup> sums: array<vec4<f32>, 512>; // [LANES, 8]
var<workgroup> eighths: array<vec4<f32>, LANES>; // [8, 8]

fn go_down(first_token: u32, column: u32, lane: u32) {
    let all = vec4<u32>(first_token) + vec4<u32>(0u, 1u, 2u, 3u);
    let at = min(all, vec4<u32>(params.tokens - 1u)) * params.row_fours;
    var low = mat4x4<f32>();
    var high = mat4x4<f32>();
    for (var i = lane; i < params.row_fours; i += LANES) {
        let first = 4u * i * params.rank_fours + column;
        let second = first + params.rank_fours;
        let third = second + params.rank_fours;
        let fourth = third + params.rank_fours;
        let four = mat4x4<f32>(x[at.x + i], x[at.y + i], x[at.z + i], x[at.w + i]);
        low += mat4x4<f32>(m[first], m[second], m[third], m[fourth]) * four;
        high += mat4x4<f32>(m[first + 1u], m[second + 1u], m[third + 1u], m[fourth + 1u]) * four;
    }
    for (var j = 0u; j < 4u; j++) {
        sums[8u * lane + 2u * j] = low[j];
        sums[8u * lane + 2u * j + 1u] = high[j];
    }
    workgroupBarrier();
    let own = lane % 8u;
    var sum = vec4<f32>(0.0);
    for (var j = 0u; j < 8u; j++) {
        sum += sums[lane / 8u * 64u + 8u * j + own];
    }
    eighths[lane] = sum;
    workgroupBarrier();
    let token = first_token + own / 2u;
    if (lane < 8u && token < params.tokens) {
        for (var j = 1u; j < 8u; j++) {
            sum += eighths[8u * j + own];
        }
        y[token * params.rank_fours + column + own % 2u] = params.scale * sum;
    }
}
