// Adds a product to the residual stream as much as its gate is open: y[token, row] += gate a or b.

@group(0) @binding(20) var<storage, read_write> y: array<f32>; // [tokens, ROWS]
@group(0) @binding(21) var<storage, read> gate: array<f32>;    // [1]
override ROWS: u32;
#import one_matrix

fn finish(token: u32, tile: u32, i: u32, a: f32, b: f32) {
    let row = tile * 32u + i;
    if (row < ROWS) {
        y[token * ROWS + row] += gate[0] * a;
    }
    if (row + 16u < ROWS) {
        y[token * ROWS + row + 16u] += gate[0] * b;
    }
}
