// The tile of a matmul_backward on a GPU: 8 lanes own four neighbouring columns each, 8 groups own 4 tokens each, and 4
// slices share out the tiles. A slice decodes each weight of its tile once, into workgroup memory; gradients of a token's
// rows are neighbours, which caches serve. At the end slices pass their sums through the same memory, and each stores one
// token of a group.

const LANES: u32 = 8u;
const GROUPS: u32 = 8u;
const SLICES: u32 = 4u;
const TOKENS: u32 = 32u;

var<workgroup> staged: array<vec4<f32>, 1024>; // [SLICES, 32 rows, 8], then [SLICES, TOKENS, 8]

fn multiply(block: u32, first_token: u32, local: vec3<u32>) {
    let lane = local.x;
    let group = local.y;
    let slice = local.z;
    let own = slice * 256u;
    let all = vec4<u32>(first_token + group * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let at = min(all, vec4<u32>(params.tokens - 1u)) * (params.slots / 4u);
    var sums: array<vec4<f32>, 4>;
    for (var first = 0u; first < params.tiles; first += SLICES) {
        let tile = first + slice;
        workgroupBarrier();
        if (tile < params.tiles) {
            let index = (tile * params.blocks + block) * 32u;
            for (var row = group; row < 32u; row += GROUPS) {
                staged[own + 8u * row + lane] = columns(index + row, lane);
            }
        }
        workgroupBarrier();
        if (tile < params.tiles) {
            let four = (params.first_tile + tile) * 8u;
            for (var i = 0u; i < 8u; i++) {
                let row = own + 32u * i + lane;
                let rows = mat4x4<f32>(staged[row], staged[row + 8u], staged[row + 16u], staged[row + 24u]);
                for (var token = 0u; token < 4u; token++) {
                    sums[token] += rows * dy[at[token] + four + i];
                }
            }
        }
    }
    workgroupBarrier();
    for (var token = 0u; token < 4u; token++) {
        staged[own + (group * 4u + token) * 8u + lane] = sums[token];
    }
    workgroupBarrier();
    let row = first_token + group * 4u + slice;
    if (row < params.tokens) {
        var sum = vec4<f32>(0.0);
        for (var other = 0u; other < SLICES; other++) {
            sum += staged[other * 256u + (group * 4u + slice) * 8u + lane];
        }
        for (var i = 0u; i < adapter_fours(); i++) {
            let h = adapter_h(row, i);
            let column = block * 32u + lane * 4u;
            sum += vec4<f32>(
                dot(adapter_b(column, i), h),
                dot(adapter_b(column + 1u, i), h),
                dot(adapter_b(column + 2u, i), h),
                dot(adapter_b(column + 3u, i), h),
            );
        }
        store(row, block * 8u + lane, sum);
    }
}
