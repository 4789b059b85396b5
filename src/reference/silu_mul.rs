//! `y = silu(gate) * up`, `silu(g) = g / (1 + exp(-g))`.

/// SwiGLU of `gate` and `up` of one shape.
pub fn silu_mul(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let one = |(gate, up): (&f32, &f32)| {
        (f64::from(*gate) / (1.0 + (-f64::from(*gate)).exp()) * f64::from(*up)) as f32
    };
    gate.iter().zip(up).map(one).collect()
}
