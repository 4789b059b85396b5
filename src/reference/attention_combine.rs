//! Attention from the parts of several ranges of positions: see `shaders/attention_combine.wgsl`.

/// Puts `parts [heads, splits, D + 2]` together: of each range a sum of values, the largest score, the sum of the weights.
pub fn attention_combine(parts: &[f32], head_dim: usize, splits: usize) -> Vec<f32> {
    let mut y = Vec::new();
    for head in parts.chunks(splits * (head_dim + 2)) {
        let ranges: Vec<&[f32]> = head.chunks(head_dim + 2).collect();
        let most = ranges.iter().map(|range| range[head_dim]);
        let most = f64::from(most.fold(f32::NEG_INFINITY, f32::max));
        let weight = |range: &[f32]| (f64::from(range[head_dim]) - most).exp();
        let sum = |column: usize| -> f64 {
            let term = |range: &&[f32]| weight(range) * f64::from(range[column]);
            ranges.iter().map(term).sum()
        };
        y.extend((0..head_dim).map(|i| (sum(i) / sum(head_dim + 1)) as f32));
    }
    y
}
