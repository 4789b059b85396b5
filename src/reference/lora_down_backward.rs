//! `dM = gate X^T G`, in the columns that each row has.

use std::ops::Range;

/// The gradient of a thin product with respect to its matrix `[rows, rank]`, of `x [tokens, rows]` and `g [tokens,
/// rank]`, the gradient of what it gave; zero outside of a row's span.
pub fn lora_down_backward(x: &[f32], g: &[f32], spans: &[Range<usize>], gate: f32) -> Vec<f32> {
    let rank = g.len() * spans.len() / x.len();
    let mut dm = Vec::with_capacity(spans.len() * rank);
    for (row, span) in spans.iter().enumerate() {
        for column in 0..rank {
            let products = x[row..]
                .iter()
                .step_by(spans.len())
                .zip(g[column..].iter().step_by(rank))
                .map(|(x, g)| f64::from(*x) * f64::from(*g));
            let has = f64::from(u8::from(span.contains(&column)));
            dm.push((has * f64::from(gate) * products.sum::<f64>()) as f32);
        }
    }
    dm
}
