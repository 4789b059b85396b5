// The tile of a matmul_backward on software Vulkan: a lane owns four neighbouring columns.

#import register_tile

fn finish_token(first_token: u32, token: u32, block: u32, lane: u32, sum: vec4<f32>) {
    if (first_token + token < params.tokens) {
        store(first_token + token, block * 8u + lane, sum);
    }
}

fn multiply(block: u32, first_token: u32, local: vec3<u32>) {
    let lane = local.x;
    let tokens = own_tokens(first_token, lane, params.tokens);
    sums = array<vec4<f32>, 32>();
    for (var tile = 0u; tile < params.tiles; tile++) {
        let index = (tile * params.blocks + block) * 32u;
        for (var i = 0u; i < 8u; i++) {
            let at = tokens * (params.slots / 4u) + vec4<u32>((params.first_tile + tile) * 8u + i);
            all_tokens(
                mat4x4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]),
                columns(index + 4u * i, lane),
                columns(index + 4u * i + 1u, lane),
                columns(index + 4u * i + 2u, lane),
                columns(index + 4u * i + 3u, lane),
            );
        }
    }
    for (var i = 0u; i < adapter_fours(); i++) {
        let at = block * 32u + lane * 4u;
        let a = transpose(mat4x4<f32>(adapter_b(at, i), adapter_b(at + 1u, i), adapter_b(at + 2u, i), adapter_b(at + 3u, i)));
        all_tokens(
            mat4x4<f32>(adapter_h(tokens.x, i), adapter_h(tokens.y, i), adapter_h(tokens.z, i), adapter_h(tokens.w, i)),
            a[0], a[1], a[2], a[3],
        );
    }
    finish_tokens(first_token, block, lane);
}
