// SwiGLU (arXiv 2002.05202): y = silu(gate) * up, silu(g) = g / (1 + exp(-g)). Row order `halves`: row a
// of a tile is a gate, row b the up of the same index.

@group(0) @binding(20) var<storage, read_write> y: array<f32>; // [tokens, ROWS], ROWS = F
override ROWS: u32;
#import keep

// Which of the matrices that it joins a slot is of.
fn part(slot: u32) -> u32 {
    return (slot >> 4u) & 1u;
}

fn finish(token: u32, tile: u32, i: u32, a: f32, b: f32) {
    let row = tile * 16u + i;
    if (row < ROWS) {
        let value = a / (1.0 + exp(-a)) * b;
        y[token * ROWS + row] = value;
        next_add(row, value);
    }
}
