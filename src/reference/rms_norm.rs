//! `y = x / rms(x) * gamma`.

/// Normalises each row of `x [tokens, H]`.
pub fn rms_norm(x: &[f32], gamma: &[f32], epsilon: f32) -> Vec<f32> {
    let row = |x: &[f32]| {
        let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let rms = (squares / x.len() as f64 + f64::from(epsilon)).sqrt();
        x.iter()
            .zip(gamma)
            .map(|(x, gamma)| (f64::from(*x) / rms * f64::from(*gamma)) as f32)
            .collect::<Vec<_>>()
    };
    x.chunks_exact(gamma.len()).flat_map(row).collect()
}
