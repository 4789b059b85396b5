// A low-rank update (LoRA, arXiv 2106.09685) of a product with one vector: W x + B h. The way down cost no dispatch:
// whoever made x left shares of h = alpha / r * A x behind it, see `next/subgroup`. Of a joint matrix, a row of B has
// the columns of its own part alone; the epilogue's `part` says which that is.

// x [columns / 4, then SHARES * PARTS * RANK_FOURS]
// B [32 tiles, RANK_FOURS], rows in the order of the tiles
#import lora_b
override SHARES: u32;
override PARTS: u32;
override RANK_FOURS: u32; // of one part

fn adapter_fours() -> u32 {
    return PARTS * RANK_FOURS;
}

// A number of h: every `step`th share of it from `first` on, added up.
fn adapter_one(index: u32, first: u32, step: u32) -> f32 {
    var sum = 0.0;
    for (var share = first; share < SHARES; share += step) {
        sum += x[params.blocks * 8u + share * PARTS * RANK_FOURS + index / 4u][index % 4u];
    }
    return sum;
}

// Four of them.
fn adapter_four(four: u32, first: u32, step: u32) -> vec4<f32> {
    var sum = vec4<f32>(0.0);
    for (var share = first; share < SHARES; share += step) {
        sum += x[params.blocks * 8u + share * PARTS * RANK_FOURS + four];
    }
    return sum;
}

fn adapter_b(slot: u32, four: u32) -> vec4<f32> {
    if (four / RANK_FOURS != part(slot)) {
        return vec4<f32>(0.0);
    }
    return lora_b(slot * RANK_FOURS + four % RANK_FOURS);
}
