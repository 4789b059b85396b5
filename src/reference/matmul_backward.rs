//! `dX = dY W`.

/// The gradient of `matmul` with respect to `x [tokens, columns]`, of `w [rows, columns]` and `dy [tokens, rows]`.
pub fn matmul_backward(w: &[f32], dy: &[f32], columns: usize) -> Vec<f32> {
    let sum = |dy: &[f32], column: usize| {
        dy.iter()
            .zip(w[column..].iter().step_by(columns))
            .map(|(dy, w)| f64::from(*dy) * f64::from(*w))
            .sum::<f64>() as f32
    };
    dy.chunks_exact(w.len() / columns)
        .flat_map(|dy| (0..columns).map(move |column| sum(dy, column)))
        .collect()
}
