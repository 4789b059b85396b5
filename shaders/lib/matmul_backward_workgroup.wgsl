// The tile of a matmul_backward on a GPU: 8 lanes own four neighbouring columns each, 8 groups own 4 tokens each. The
// gradients of a tile's rows are staged in workgroup memory, where a group reads the same values in all lanes.

const LANES: u32 = 8u;
const GROUPS: u32 = 8u;
const TOKENS: u32 = 32u;

var<workgroup> staged: array<vec4<f32>, 256>; // [32 tokens, 8]

fn multiply(block: u32, first_token: u32, local: vec3<u32>) {
    let lane = local.x;
    let group = local.y;
    var sums: array<vec4<f32>, 4>;
    for (var tile = 0u; tile < params.tiles; tile++) {
        workgroupBarrier();
        for (var i = group * LANES + lane; i < 256u; i += LANES * GROUPS) {
            let token = min(first_token + i / 8u, params.tokens - 1u);
            staged[i] = dy[token * (params.slots / 4u) + (params.first_tile + tile) * 8u + i % 8u];
        }
        workgroupBarrier();
        let index = (tile * params.blocks + block) * 32u;
        for (var i = 0u; i < 8u; i++) {
            let rows = mat4x4<f32>(
                columns(index + 4u * i, lane), columns(index + 4u * i + 1u, lane),
                columns(index + 4u * i + 2u, lane), columns(index + 4u * i + 3u, lane),
            );
            for (var token = 0u; token < 4u; token++) {
                sums[token] += rows * staged[(group * 4u + token) * 8u + i];
            }
        }
    }
    for (var token = 0u; token < 4u; token++) {
        let row = first_token + group * 4u + token;
        let own = min(row, params.tokens - 1u);
        for (var i = 0u; i < adapter_fours(); i++) {
            for (var j = 0u; j < 4u; j++) {
                sums[token][j] += dot(adapter_b(block * 32u + lane * 4u + j, i), adapter_h(own, i));
            }
        }
        if (row < params.tokens) {
            store(row, block * 8u + lane, sums[token]);
        }
    }
}
