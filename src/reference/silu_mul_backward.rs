//! `dgate = dy up s (1 + gate (1 - s))`, `dup = dy gate s`, `s = sigmoid(gate)`.

/// The gradients of `silu_mul` with respect to `gate` and `up`, all of one shape.
pub fn silu_mul_backward(gate: &[f32], up: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let one = |((gate, up), dy): ((&f32, &f32), &f32)| {
        let [gate, up, dy] = [*gate, *up, *dy].map(f64::from);
        let s = 1.0 / (1.0 + (-gate).exp());
        (
            (dy * up * s * (1.0 + gate * (1.0 - s))) as f32,
            (dy * gate * s) as f32,
        )
    };
    gate.iter().zip(up).zip(dy).map(one).unzip()
}
