// A low-rank update (LoRA, arXiv 2106.09685) of a product: W x + B h, where h = alpha / r * A x comes from `lora_down`.
// Of a joint matrix, every part has its own columns of B and zeros elsewhere.

@group(0) @binding(12) var<storage, read> h: array<vec4<f32>>; // [tokens, RANK / 4]
@group(0) @binding(13) var<storage, read> b: array<vec4<f32>>; // [32 tiles, RANK / 4], rows in the order of the tiles
override RANK: u32; // of all parts together, a multiple of 8

fn adapter_fours() -> u32 {
    return RANK / 4u;
}

fn adapter_h(token: u32, four: u32) -> vec4<f32> {
    return h[token * (RANK / 4u) + four];
}

fn adapter_b(slot: u32, four: u32) -> vec4<f32> {
    return b[slot * (RANK / 4u) + four];
}
