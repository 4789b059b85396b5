// A low-rank update (LoRA, arXiv 2106.09685) of a product with one vector, W x + B h, on software Vulkan. The way down
// cost no dispatch: whoever made x left shares of h = alpha / r * A x behind it, see `next/subgroup`. Of a joint matrix, a
// row of B has the columns of its own part alone; the epilogue's `part` says which that is.

// x [columns / 4], then [SHARES, PARTS, RANK_FOURS]
// B [32 tiles, RANK_FOURS], rows in the order of the tiles
#import lora_b
override SHARES: u32;
override PARTS: u32;
override RANK_FOURS: u32; // of one part

// A number of h: every `step`th share of it from `first` on, added up.
fn shares_of(index: u32, first: u32, step: u32) -> f32 {
    var sum = 0.0;
    for (var share = first; share < SHARES; share += step) {
        sum += x[params.blocks * 8u + share * PARTS * RANK_FOURS + index / 4u][index % 4u];
    }
    return sum;
}

// Adds B h to a tile's sums. Of four numbers of h, two lanes add up half of the shares each; numbers of parts that no row of
// the tile is of are left out.
fn update(sums: ptr<function, array<f32, SLOTS>>, tile: u32, local: vec3<u32>) {
    let end = (part(tile * 32u + 31u) + 1u) * RANK_FOURS;
    for (var four = part(tile * 32u) * RANK_FOURS; four < end; four++) {
        let own = shares_of(4u * four + (local.x & 3u), local.x >> 2u, 2u);
        let h = vec4<f32>(
            subgroupBroadcast(own, 0u) + subgroupBroadcast(own, 4u),
            subgroupBroadcast(own, 1u) + subgroupBroadcast(own, 5u),
            subgroupBroadcast(own, 2u) + subgroupBroadcast(own, 6u),
            subgroupBroadcast(own, 3u) + subgroupBroadcast(own, 7u),
        );
        for (var slot = 0u; slot < SLOTS; slot++) {
            let row = tile * 32u + slot * LANES + local.x;
            if (part(row) == four / RANK_FOURS) {
                (*sums)[slot] += dot(lora_b(row * RANK_FOURS + four % RANK_FOURS), h);
            }
        }
    }
}
