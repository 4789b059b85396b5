// The tile of a matmul on software Vulkan: the workgroup is one subgroup of 8, a lane owns four rows and
// 32 tokens, 128 sums in registers. Each lane loads one token's vector and broadcasts it; no workgroup
// memory, no barrier.

const LANES: u32 = 8u;
const GROUPS: u32 = 1u;
const TOKENS: u32 = 32u;

// sums of the four rows, one vec4 a token
var<private> sums: array<vec4<f32>, 32>;

// Four columns of four rows (w0..w3, one column each) times eight tokens' values of those columns.
fn eight_tokens(first: u32, own: vec4<f32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>) {
    let x0 = subgroupBroadcast(own, 0u);
    sums[first + 0u] = fma(w3, vec4<f32>(x0.w), fma(w2, vec4<f32>(x0.z), fma(w1, vec4<f32>(x0.y), fma(w0, vec4<f32>(x0.x), sums[first + 0u]))));
    let x1 = subgroupBroadcast(own, 1u);
    sums[first + 1u] = fma(w3, vec4<f32>(x1.w), fma(w2, vec4<f32>(x1.z), fma(w1, vec4<f32>(x1.y), fma(w0, vec4<f32>(x1.x), sums[first + 1u]))));
    let x2 = subgroupBroadcast(own, 2u);
    sums[first + 2u] = fma(w3, vec4<f32>(x2.w), fma(w2, vec4<f32>(x2.z), fma(w1, vec4<f32>(x2.y), fma(w0, vec4<f32>(x2.x), sums[first + 2u]))));
    let x3 = subgroupBroadcast(own, 3u);
    sums[first + 3u] = fma(w3, vec4<f32>(x3.w), fma(w2, vec4<f32>(x3.z), fma(w1, vec4<f32>(x3.y), fma(w0, vec4<f32>(x3.x), sums[first + 3u]))));
    let x4 = subgroupBroadcast(own, 4u);
    sums[first + 4u] = fma(w3, vec4<f32>(x4.w), fma(w2, vec4<f32>(x4.z), fma(w1, vec4<f32>(x4.y), fma(w0, vec4<f32>(x4.x), sums[first + 4u]))));
    let x5 = subgroupBroadcast(own, 5u);
    sums[first + 5u] = fma(w3, vec4<f32>(x5.w), fma(w2, vec4<f32>(x5.z), fma(w1, vec4<f32>(x5.y), fma(w0, vec4<f32>(x5.x), sums[first + 5u]))));
    let x6 = subgroupBroadcast(own, 6u);
    sums[first + 6u] = fma(w3, vec4<f32>(x6.w), fma(w2, vec4<f32>(x6.z), fma(w1, vec4<f32>(x6.y), fma(w0, vec4<f32>(x6.x), sums[first + 6u]))));
    let x7 = subgroupBroadcast(own, 7u);
    sums[first + 7u] = fma(w3, vec4<f32>(x7.w), fma(w2, vec4<f32>(x7.z), fma(w1, vec4<f32>(x7.y), fma(w0, vec4<f32>(x7.x), sums[first + 7u]))));
}

fn four_columns(x_index: vec4<u32>, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>) {
    let w0 = vec4<f32>(v0.x, v1.x, v2.x, v3.x);
    let w1 = vec4<f32>(v0.y, v1.y, v2.y, v3.y);
    let w2 = vec4<f32>(v0.z, v1.z, v2.z, v3.z);
    let w3 = vec4<f32>(v0.w, v1.w, v2.w, v3.w);
    eight_tokens(0u, x[x_index.x], w0, w1, w2, w3);
    eight_tokens(8u, x[x_index.y], w0, w1, w2, w3);
    eight_tokens(16u, x[x_index.z], w0, w1, w2, w3);
    eight_tokens(24u, x[x_index.w], w0, w1, w2, w3);
}

fn finish_token(first_token: u32, token: u32, tile: u32, lane: u32, sum: vec4<f32>) {
    if (first_token + token < params.tokens) {
        finish(first_token + token, tile, lane, sum.x, sum.z);
        finish(first_token + token, tile, lane + 8u, sum.y, sum.w);
    }
}

fn multiply(first_block: u32, tile: u32, first_token: u32, local: vec3<u32>) {
    let lane = local.x;
    let row_length = params.blocks * 8u;
    let tokens = min(vec4<u32>(first_token + lane) + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(params.tokens - 1u));
    sums = array<vec4<f32>, 32>();
    for (var block = 0u; block < params.blocks; block++) {
        let index = (first_block + block) * 32u + lane;
        let b0 = load_block(index);
        let b1 = load_block(index + 8u);
        let b2 = load_block(index + 16u);
        let b3 = load_block(index + 24u);
        for (var i = 0u; i < 8u; i++) {
            four_columns(
                tokens * row_length + vec4<u32>(block * 8u + i),
                fma(values(b0, i), vec4<f32>(b0.scale), vec4<f32>(b0.offset)),
                fma(values(b1, i), vec4<f32>(b1.scale), vec4<f32>(b1.offset)),
                fma(values(b2, i), vec4<f32>(b2.scale), vec4<f32>(b2.offset)),
                fma(values(b3, i), vec4<f32>(b3.scale), vec4<f32>(b3.offset)),
            );
        }
    }
    finish_token(first_token, 0u, tile, lane, sums[0]);
    finish_token(first_token, 1u, tile, lane, sums[1]);
    finish_token(first_token, 2u, tile, lane, sums[2]);
    finish_token(first_token, 3u, tile, lane, sums[3]);
    finish_token(first_token, 4u, tile, lane, sums[4]);
    finish_token(first_token, 5u, tile, lane, sums[5]);
    finish_token(first_token, 6u, tile, lane, sums[6]);
    finish_token(first_token, 7u, tile, lane, sums[7]);
    finish_token(first_token, 8u, tile, lane, sums[8]);
    finish_token(first_token, 9u, tile, lane, sums[9]);
    finish_token(first_token, 10u, tile, lane, sums[10]);
    finish_token(first_token, 11u, tile, lane, sums[11]);
    finish_token(first_token, 12u, tile, lane, sums[12]);
    finish_token(first_token, 13u, tile, lane, sums[13]);
    finish_token(first_token, 14u, tile, lane, sums[14]);
    finish_token(first_token, 15u, tile, lane, sums[15]);
    finish_token(first_token, 16u, tile, lane, sums[16]);
    finish_token(first_token, 17u, tile, lane, sums[17]);
    finish_token(first_token, 18u, tile, lane, sums[18]);
    finish_token(first_token, 19u, tile, lane, sums[19]);
    finish_token(first_token, 20u, tile, lane, sums[20]);
    finish_token(first_token, 21u, tile, lane, sums[21]);
    finish_token(first_token, 22u, tile, lane, sums[22]);
    finish_token(first_token, 23u, tile, lane, sums[23]);
    finish_token(first_token, 24u, tile, lane, sums[24]);
    finish_token(first_token, 25u, tile, lane, sums[25]);
    finish_token(first_token, 26u, tile, lane, sums[26]);
    finish_token(first_token, 27u, tile, lane, sums[27]);
    finish_token(first_token, 28u, tile, lane, sums[28]);
    finish_token(first_token, 29u, tile, lane, sums[29]);
    finish_token(first_token, 30u, tile, lane, sums[30]);
    finish_token(first_token, 31u, tile, lane, sums[31]);
}
