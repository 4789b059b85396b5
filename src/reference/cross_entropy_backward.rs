//! `dlogits[t, v] = scale (softmax(logits[t])_v - q_tv)`, where the targets q are token ids or, for a share, another
//! model's probabilities.

/// The gradient with respect to `logits [tokens, V]` of `scale` times the sum of `cross_entropy` with `targets`, of which
/// `share` are the probabilities `teacher [tokens, V]` in place of ids. A token whose target is no id has none.
pub fn cross_entropy_backward(
    logits: &[f32],
    targets: &[u32],
    (share, teacher): (f32, &[f32]),
    scale: f32,
) -> Vec<f32> {
    let vocab = logits.len() / targets.len();
    let mut d = Vec::with_capacity(logits.len());
    for (token, logits) in logits.chunks_exact(vocab).enumerate() {
        let target = targets[token] as usize;
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp = |logit: &f32| (f64::from(*logit) - f64::from(most)).exp();
        let sum: f64 = logits.iter().map(exp).sum();
        for (id, logit) in logits.iter().enumerate() {
            let taught = teacher.get(token * vocab + id).copied().unwrap_or(0.0);
            let hard = f64::from(u8::from(id == target));
            let q = f64::from(share) * f64::from(taught) + f64::from(1.0 - share) * hard;
            let counts = f64::from(u8::from(target < vocab));
            d.push((f64::from(scale) * counts * (exp(logit) / sum - q)) as f32);
        }
    }
    d
}
