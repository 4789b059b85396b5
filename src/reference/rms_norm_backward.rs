//! `dx_i = (g_i - x_i sum_j(g_j x_j) / (H m)) / sqrt(m)`, `g = dy gamma`, `m = mean(x^2) + epsilon`.

/// The gradient of `rms_norm` with respect to `x [tokens, H]`.
pub fn rms_norm_backward(x: &[f32], gamma: &[f32], dy: &[f32], epsilon: f32) -> Vec<f32> {
    let count = gamma.len() as f64;
    let row = |(x, dy): (&[f32], &[f32])| {
        let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let mean = squares / count + f64::from(epsilon);
        let g: Vec<f64> = dy
            .iter()
            .zip(gamma)
            .map(|(dy, gamma)| f64::from(*dy) * f64::from(*gamma))
            .collect();
        let along: f64 = g.iter().zip(x).map(|(g, x)| g * f64::from(*x)).sum();
        g.iter()
            .zip(x)
            .map(|(g, x)| ((g - f64::from(*x) * along / (count * mean)) / mean.sqrt()) as f32)
            .collect::<Vec<_>>()
    };
    x.chunks_exact(gamma.len())
        .zip(dy.chunks_exact(gamma.len()))
        .flat_map(row)
        .collect()
}
