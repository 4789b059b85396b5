// A low-rank update (LoRA, arXiv 2106.09685) of a product with one vector: W x + B h. The way down cost no dispatch:
// whoever made x left shares of h = alpha / r * A x behind it, see `next/subgroup`. Of a joint matrix, a row of B has
// the columns of its own part alone; the epilogue's `part` says which that is.

// x [columns / 4, then SHARES * PARTS * RANK_FOURS]
@group(0) @binding(13) var<storage, read> b: array<vec4<f32>>; // [32 tiles, RANK_FOURS], rows in the order of the tiles
override SHARES: u32;
override PARTS: u32;
override RANK_FOURS: u32; // of one part

fn adapter_fours() -> u32 {
    return PARTS * RANK_FOURS;
}

// What one sharer adds up of h: `lanes` makes it whole.
fn adapter_h(sharer: u32, four: u32) -> vec4<f32> {
    var h = vec4<f32>(0.0);
    for (var share = sharer; share < SHARES; share += SHARERS) {
        h += x[params.blocks * 8u + share * PARTS * RANK_FOURS + four];
    }
    return h;
}

fn adapter_b(slot: u32, four: u32) -> vec4<f32> {
    if (four / RANK_FOURS != part(slot)) {
        return vec4<f32>(0.0);
    }
    return b[slot * RANK_FOURS + four % RANK_FOURS];
}
