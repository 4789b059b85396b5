// Keeps four numbers behind the ROWS rows of one vector y.

fn next_keep(index: u32, value: vec4<f32>) {
    let at = ROWS + 4u * index;
    y[at] = value.x;
    y[at + 1u] = value.y;
    y[at + 2u] = value.z;
    y[at + 3u] = value.w;
}
