//! `dw = sum_t dz_t x_t`, where `dz` was divided by each token's rms.

/// The gradient of `router_score` with respect to `w [H]`, of `x [tokens, H]` and what `router_score_backward` made of
/// `dz [tokens]`.
pub fn router_weights_backward(x: &[f32], dz: &[f32]) -> Vec<f32> {
    let hidden = x.len() / dz.len();
    let sum = |column: usize| {
        dz.iter()
            .zip(x[column..].iter().step_by(hidden))
            .map(|(dz, x)| f64::from(*dz) * f64::from(*x))
            .sum::<f64>() as f32
    };
    (0..hidden).map(sum).collect()
}
