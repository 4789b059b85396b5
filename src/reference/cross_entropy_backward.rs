//! `dlogits[t, v] = scale (softmax(logits[t])_v - [v = target_t])`.

/// The gradient of `scale` times the sum of `cross_entropy` with respect to `logits [tokens, V]`.
pub fn cross_entropy_backward(logits: &[f32], targets: &[u32], scale: f32) -> Vec<f32> {
    let row = |(logits, target): (&[f32], &u32)| {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp = |logit: &f32| f64::from(logit - most).exp();
        let sum: f64 = logits.iter().map(exp).sum();
        let mut d: Vec<f64> = logits.iter().map(|logit| exp(logit) / sum).collect();
        d[*target as usize] -= 1.0;
        d.into_iter()
            .map(|d| (f64::from(scale) * d) as f32)
            .collect::<Vec<_>>()
    };
    logits
        .chunks_exact(logits.len() / targets.len())
        .zip(targets)
        .flat_map(row)
        .collect()
}
