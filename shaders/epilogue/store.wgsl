// Stores a product: y[token, row] = a or b.

@group(0) @binding(20) var<storage, read_write> y: array<f32>; // [tokens, ROWS]
override ROWS: u32;
#import one_matrix

fn finish(token: u32, tile: u32, i: u32, a: f32, b: f32) {
    let row = tile * 32u + i;
    if (row < ROWS) {
        y[token * ROWS + row] = a;
    }
    if (row + 16u < ROWS) {
        y[token * ROWS + row + 16u] = b;
    }
}
