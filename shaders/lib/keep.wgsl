// Keeps a number behind the ROWS rows of one vector y.

fn next_keep(index: u32, value: f32) {
    y[ROWS + index] = value;
}
