//! `Y = scale X M`: a product with a thin matrix.

/// Multiplies each of `x [tokens, rows]` with `m [rows, rank]`.
pub fn lora_down(x: &[f32], m: &[f32], rank: usize, scale: f32) -> Vec<f32> {
    let sum = |x: &[f32], column: usize| {
        let products = x
            .iter()
            .zip(m[column..].iter().step_by(rank))
            .map(|(x, m)| f64::from(*x) * f64::from(*m));
        (f64::from(scale) * products.sum::<f64>()) as f32
    };
    x.chunks_exact(m.len() / rank)
        .flat_map(|x| (0..rank).map(move |column| sum(x, column)))
        .collect()
}
