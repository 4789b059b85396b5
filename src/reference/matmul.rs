//! `Y = X W^T`.

/// Multiplies `w [rows, columns]` with each of `x [tokens, columns]`.
pub fn matmul(w: &[f32], x: &[f32], columns: usize) -> Vec<f32> {
    let dot = |x: &[f32], w: &[f32]| {
        x.iter()
            .zip(w)
            .map(|(x, w)| f64::from(*x) * f64::from(*w))
            .sum::<f64>() as f32
    };
    x.chunks_exact(columns)
        .flat_map(|x| w.chunks_exact(columns).map(move |w| dot(x, w)))
        .collect()
}
