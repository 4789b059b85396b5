// A low-rank update (LoRA, arXiv 2106.09685) of a product with one vector, W x + B h, on software Vulkan. The way down
// cost no dispatch: whoever made x left shares of h = alpha / r * A x behind it, see `next/subgroup`. Of a joint matrix, a
// row of B has the columns of its own part alone; the epilogue's `part` says which that is.

// x [columns / 4], then [SHARES, PARTS, RANK_FOURS]
// B [32 tiles, RANK_FOURS], rows in the order of the tiles
#import lora_b
override SHARES: u32;
override PARTS: u32;
override RANK_FOURS: u32; // of one part

// A number of h: every second share of it from `first` on, added up. All lanes take as many rounds, which can then be unrolled.
fn shares_of(index: u32, first: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < SHARES; i += 2u) {
        let share = min(i + first, SHARES - 1u);
        let own = x[params.blocks * 8u + share * PARTS * RANK_FOURS + index / 4u][index % 4u];
        sum += select(0.0, own, i + first < SHARES);
    }
    return sum;
}

// Adds B h to a tile's sums. Of four numbers of h, two lanes add up half of the shares each; parts that no row of the tile is
// of are left out, and a row's B is read once.
fn update(sums: ptr<function, array<f32, SLOTS>>, tile: u32, local: vec3<u32>) {
    let first_part = part(tile * 32u);
    let last_part = part(tile * 32u + 31u);
    for (var four = 0u; four < RANK_FOURS; four++) {
        var hs: array<vec4<f32>, SLOTS>; // of the part that each row is of
        for (var own_part = first_part; own_part <= last_part; own_part++) {
            let index = 4u * (own_part * RANK_FOURS + four) + (local.x & 3u);
            let own = shares_of(index, local.x >> 2u);
            let h = vec4<f32>(
                subgroupBroadcast(own, 0u) + subgroupBroadcast(own, 4u),
                subgroupBroadcast(own, 1u) + subgroupBroadcast(own, 5u),
                subgroupBroadcast(own, 2u) + subgroupBroadcast(own, 6u),
                subgroupBroadcast(own, 3u) + subgroupBroadcast(own, 7u),
            );
            for (var slot = 0u; slot < SLOTS; slot++) {
                hs[slot] = select(hs[slot], h, part(tile * 32u + slot * LANES + local.x) == own_part);
            }
        }
        for (var slot = 0u; slot < SLOTS; slot++) {
            let row = tile * 32u + slot * LANES + local.x;
            (*sums)[slot] += dot(lora_b(row * RANK_FOURS + four), hs[slot]);
        }
    }
}
