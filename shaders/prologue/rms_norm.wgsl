// RMSNorm ahead of a product: W (x / rms(x) * gamma) = (W (x * gamma)) / rms(x), so the norm costs no
// pass of its own: the squares are summed while the vector is read.

@group(0) @binding(1) var<storage, read> gamma: array<vec4<f32>>; // [columns / 4]
override EPSILON: f32 = 1e-5;
const NORMED: bool = true;

fn prologue(value: vec4<f32>, index: u32) -> vec4<f32> {
    return value * gamma[index];
}

fn prologue_factor(squares: f32, columns: u32) -> f32 {
    return 1.0 / sqrt(squares / f32(columns) + EPSILON);
}
