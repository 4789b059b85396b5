// The vector as it is.

const NORMED: bool = false; // nobody asks for its squares

fn prologue(value: vec4<f32>, index: u32) -> vec4<f32> {
    return value;
}

fn prologue_factor(squares: f32, columns: u32) -> f32 {
    return 1.0;
}
