// Adds a product to the residual stream: y[token, row] += a or b.

@group(0) @binding(20) var<storage, read_write> y: array<f32>; // [tokens, ROWS]
override ROWS: u32;
#import one_matrix
#import keep

fn finish(token: u32, tile: u32, i: u32, a: f32, b: f32) {
    let row = tile * 32u + i;
    if (row < ROWS) {
        add(token, row, a);
    }
    if (row + 16u < ROWS) {
        add(token, row + 16u, b);
    }
}

fn add(token: u32, row: u32, value: f32) {
    let whole = y[token * ROWS + row] + value;
    y[token * ROWS + row] = whole;
    next_add(row, whole);
}
