// The tile of a matmul on a GPU: 16 lanes own two rows each, GROUPS groups own 8 tokens each. A block
// of 32 columns of these tokens is staged in workgroup memory, where a group reads the same values in all
// lanes; weights are decoded in registers.

const LANES: u32 = 16u;
override GROUPS: u32;
override TOKENS: u32 = 8u * GROUPS;

var<workgroup> staged: array<vec4<f32>, 64u * GROUPS>; // [TOKENS, 8]

fn multiply(first_block: u32, tile: u32, first_token: u32, local: vec3<u32>) {
    let lane = local.x;
    let group = local.y;
    let invocation = group * LANES + lane;
    var a: array<f32, 8>;
    var b: array<f32, 8>;
    for (var block = 0u; block < params.blocks; block++) {
        workgroupBarrier();
        for (var i = invocation; i < 8u * TOKENS; i += LANES * GROUPS) {
            let token = min(first_token + i / 8u, params.tokens - 1u);
            staged[i] = x[(token * params.blocks + block) * 8u + i % 8u];
        }
        workgroupBarrier();
        let index = (first_block + block) * 32u + lane;
        let block_a = load_block(index);
        let block_b = load_block(index + 16u);
        for (var i = 0u; i < 8u; i++) {
            let wa = fma(values(block_a, i), vec4<f32>(block_a.scale), vec4<f32>(block_a.offset));
            let wb = fma(values(block_b, i), vec4<f32>(block_b.scale), vec4<f32>(block_b.offset));
            for (var token = 0u; token < 8u; token++) {
                let value = staged[(group * 8u + token) * 8u + i];
                a[token] += dot(wa, value);
                b[token] += dot(wb, value);
            }
        }
    }
    for (var token = 0u; token < 8u; token++) {
        let own = min(first_token + group * 8u + token, params.tokens - 1u);
        for (var i = 0u; i < adapter_fours(); i++) {
            a[token] += dot(adapter_b(tile * 32u + lane, i), adapter_h(own, i));
            b[token] += dot(adapter_b(tile * 32u + lane + 16u, i), adapter_h(own, i));
        }
        let row = first_token + group * 8u + token;
        if (row < params.tokens) {
            finish(row, tile, lane, a[token], b[token]);
        }
    }
}
