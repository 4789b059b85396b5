// The tile of a matmul on a GPU: 16 lanes own two rows each, GROUPS groups own 8 tokens each, and SLICES share out the
// columns. A block of 32 columns of a slice's tokens is staged in workgroup memory, where a group reads the same values in
// all lanes; weights are decoded in registers. At the end slices pass their sums through the same memory, and each finishes
// some of the tokens.

const LANES: u32 = 16u;
override GROUPS: u32;
override SLICES: u32 = 16u / GROUPS;
override TOKENS: u32 = 8u * GROUPS;

var<workgroup> staged: array<vec4<f32>, 1024>; // [SLICES, TOKENS, 8], then [SLICES, GROUPS, 4, LANES]

fn multiply(first_block: u32, tile: u32, first_token: u32, local: vec3<u32>) {
    let lane = local.x;
    let group = local.y;
    let slice = local.z;
    let own = slice * TOKENS * 8u;
    var a: array<f32, 8>;
    var b: array<f32, 8>;
    for (var first = 0u; first < params.blocks; first += SLICES) {
        let block = first + slice;
        workgroupBarrier();
        if (block < params.blocks) {
            for (var i = group * LANES + lane; i < 8u * TOKENS; i += LANES * GROUPS) {
                let token = min(first_token + i / 8u, params.tokens - 1u);
                staged[own + i] = x[(token * params.blocks + block) * 8u + i % 8u];
            }
        }
        workgroupBarrier();
        if (block < params.blocks) {
            let index = (first_block + block) * 32u + lane;
            let block_a = load_block(index);
            let block_b = load_block(index + 16u);
            for (var i = 0u; i < 8u; i++) {
                let wa = fma(values(block_a, i), vec4<f32>(block_a.scale), vec4<f32>(block_a.offset));
                let wb = fma(values(block_b, i), vec4<f32>(block_b.scale), vec4<f32>(block_b.offset));
                for (var token = 0u; token < 8u; token++) {
                    let value = staged[own + (group * 8u + token) * 8u + i];
                    a[token] += dot(wa, value);
                    b[token] += dot(wb, value);
                }
            }
        }
    }
    workgroupBarrier();
    // Of a pair of tokens the sums of both rows.
    for (var pair = 0u; pair < 4u; pair++) {
        let sums = vec4<f32>(a[2u * pair], b[2u * pair], a[2u * pair + 1u], b[2u * pair + 1u]);
        staged[own + (group * 4u + pair) * LANES + lane] = sums;
    }
    workgroupBarrier();
    for (var token = slice; token < 8u; token += SLICES) {
        let row = first_token + group * 8u + token;
        if (row < params.tokens) {
            var sums = vec2<f32>(0.0);
            for (var other = 0u; other < SLICES; other++) {
                let both = staged[other * TOKENS * 8u + (group * 4u + token / 2u) * LANES + lane];
                sums += select(both.xy, both.zw, token % 2u == 1u);
            }
            for (var i = 0u; i < adapter_fours(); i++) {
                let h = adapter_h(row, i);
                sums.x += dot(adapter_b(tile * 32u + lane, i), h);
                sums.y += dot(adapter_b(tile * 32u + lane + 16u, i), h);
            }
            finish(row, tile, lane, sums.x, sums.y);
        }
    }
}
