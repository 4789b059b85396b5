//! `loss_t = log(sum_v exp(logits[t, v])) - logits[t, target_t]`.

/// The loss of each token of `logits [tokens, V]`, in nats.
pub fn cross_entropy(logits: &[f32], targets: &[u32]) -> Vec<f32> {
    let loss = |(logits, target): (&[f32], &u32)| {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits
            .iter()
            .map(|logit| f64::from(logit - most).exp())
            .sum();
        (sum.ln() + f64::from(most) - f64::from(logits[*target as usize])) as f32
    };
    logits
        .chunks_exact(logits.len() / targets.len())
        .zip(targets)
        .map(loss)
        .collect()
}
