//! Temperature, top-k, top-p and min-p.

use crate::trace::Sampling;

/// The probability of each token of `logits [V]` after all filters; 0 for tokens left out. Tokens of equal
/// weight are kept or left out together.
pub fn probabilities(logits: &[f32], sampling: &Sampling) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| (f64::from(logit - most) / f64::from(sampling.temperature)).exp();
    let weights: Vec<f64> = logits.iter().map(weight).collect();
    let mut sorted = weights.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let mut least: f64 = 0.0;
    if sampling.top_k > 0 && (sampling.top_k as usize) < sorted.len() {
        least = sorted[sampling.top_k as usize - 1];
    }
    if sampling.top_p < 1.0 {
        let wanted = f64::from(sampling.top_p)
            * sorted
                .iter()
                .filter(|weight| **weight >= least)
                .sum::<f64>();
        let mut sum = 0.0;
        for weight in &sorted {
            sum += weight;
            if sum >= wanted {
                least = least.max(*weight);
                break;
            }
        }
    }
    least = least.max(f64::from(sampling.min_p));
    let kept: Vec<f64> = weights
        .iter()
        .map(|weight| if *weight >= least { *weight } else { 0.0 })
        .collect();
    let total: f64 = kept.iter().sum();
    kept.iter().map(|weight| weight / total).collect()
}
