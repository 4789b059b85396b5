//! `loss_t = log(sum_v exp(logits[t, v])) - sum_v q_tv logits[t, v]`, where the targets q are token ids or, for a share,
//! another model's probabilities.

/// The loss in nats of each token of `logits [tokens, V]` with `targets`, of which `share` are the probabilities
/// `teacher [tokens, V]` in place of ids. A token whose target is no id has none.
pub fn cross_entropy(logits: &[f32], targets: &[u32], (share, teacher): (f32, &[f32])) -> Vec<f32> {
    let vocab = logits.len() / targets.len();
    let loss = |(token, logits): (usize, &[f32])| {
        let target = targets[token] as usize;
        if target >= vocab {
            return 0.0;
        }
        let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let from_most = |logit: &f32| f64::from(*logit) - most;
        let sum: f64 = logits.iter().map(|logit| from_most(logit).exp()).sum();
        let mut wanted = f64::from(1.0 - share) * from_most(&logits[target]);
        if share > 0.0 {
            let taught = logits.iter().zip(&teacher[token * vocab..]);
            let wants = |(logit, p): (&f32, &f32)| f64::from(*p) * from_most(logit);
            wanted += f64::from(share) * taught.map(wants).sum::<f64>();
        }
        (sum.ln() - wanted) as f32
    };
    logits.chunks_exact(vocab).enumerate().map(loss).collect()
}
