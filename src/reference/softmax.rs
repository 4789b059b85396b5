//! `y_tv = exp(logit_tv) / sum_u(exp(logit_tu))`.

/// The probabilities of `logits [tokens, vocab]`.
pub fn softmax(logits: &[f32], vocab: usize) -> Vec<f32> {
    let row = |logits: &[f32]| {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp = |logit: &f32| (f64::from(*logit) - f64::from(most)).exp();
        let sum: f64 = logits.iter().map(exp).sum();
        let p = logits.iter().map(|logit| (exp(logit) / sum) as f32);
        p.collect::<Vec<_>>()
    };
    logits.chunks_exact(vocab).flat_map(row).collect()
}
