// A tile of 32 tokens x 32 outputs in registers, for software Vulkan: the workgroup is one subgroup of 8, a lane
// owns four outputs of every token, 128 sums. Each lane loads four tokens' vectors and broadcasts them; no
// workgroup memory, no barrier. Indices of the sums are never dynamic, or they would leave the registers.
// The importer declares `finish_token(first_token, token, tile, lane, sum)`.

const LANES: u32 = 8u;
const GROUPS: u32 = 1u;
const SLICES: u32 = 1u;
const TOKENS: u32 = 32u;

// the four outputs of this lane, one vec4 a token
var<private> sums: array<vec4<f32>, 32>;

// Eight tokens' values of four inputs, times what those inputs weigh in this lane's four outputs.
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

// The same for all 32 tokens.
fn all_tokens(own: mat4x4<f32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>) {
    eight_tokens(0u, own[0], w0, w1, w2, w3);
    eight_tokens(8u, own[1], w0, w1, w2, w3);
    eight_tokens(16u, own[2], w0, w1, w2, w3);
    eight_tokens(24u, own[3], w0, w1, w2, w3);
}

// The four tokens whose vectors this lane loads; past the end, the last.
fn own_tokens(first_token: u32, lane: u32, tokens: u32) -> vec4<u32> {
    return min(vec4<u32>(first_token + lane) + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(tokens - 1u));
}

fn finish_tokens(first_token: u32, tile: u32, lane: u32) {
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
