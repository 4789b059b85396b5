// The tile of a matmul on software Vulkan: a lane owns rows lane, lane + 8, lane + 16 and lane + 24 of the tile.

#import register_tile

fn four_columns(own: mat4x4<f32>, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>) {
    let columns = transpose(mat4x4<f32>(v0, v1, v2, v3));
    all_tokens(own, columns[0], columns[1], columns[2], columns[3]);
}

fn finish_token(first_token: u32, token: u32, tile: u32, lane: u32, sum: vec4<f32>) {
    if (first_token + token < params.tokens) {
        finish(first_token + token, tile, lane, sum.x, sum.z);
        finish(first_token + token, tile, lane + 8u, sum.y, sum.w);
    }
}

fn multiply(first_block: u32, tile: u32, first_token: u32, local: vec3<u32>) {
    let lane = local.x;
    let tokens = own_tokens(first_token, lane, params.tokens);
    sums = array<vec4<f32>, 32>();
    for (var block = 0u; block < params.blocks; block++) {
        let index = (first_block + block) * 32u + lane;
        let b0 = load_block(index);
        let b1 = load_block(index + 8u);
        let b2 = load_block(index + 16u);
        let b3 = load_block(index + 24u);
        for (var i = 0u; i < 8u; i++) {
            let at = tokens * params.blocks * 8u + vec4<u32>(block * 8u + i);
            four_columns(
                mat4x4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]),
                fma(values(b0, i), vec4<f32>(b0.scale), vec4<f32>(b0.offset)),
                fma(values(b1, i), vec4<f32>(b1.scale), vec4<f32>(b1.offset)),
                fma(values(b2, i), vec4<f32>(b2.scale), vec4<f32>(b2.offset)),
                fma(values(b3, i), vec4<f32>(b3.scale), vec4<f32>(b3.offset)),
            );
        }
    }
    for (var i = 0u; i < adapter_fours(); i++) {
        let slot = tile * 32u + lane;
        four_columns(
            mat4x4<f32>(adapter_h(tokens.x, i), adapter_h(tokens.y, i), adapter_h(tokens.z, i), adapter_h(tokens.w, i)),
            adapter_b(slot, i), adapter_b(slot + 8u, i), adapter_b(slot + 16u, i), adapter_b(slot + 24u, i),
        );
    }
    finish_tokens(first_token, tile, lane);
}
