//! `y_t = softmax(q_t K^T / sqrt(D)) V` over the positions up to `t`'s own.

/// Sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads, a divisor of the query heads.
    pub kv_heads: usize,
    /// Head size `D`.
    pub head_dim: usize,
}

/// Attends from `queries [tokens, Q]`, the first at `position`, to `keys` and `values [C, K]`.
pub fn attention(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    position: usize,
    sizes: Heads,
) -> Vec<f32> {
    let Heads {
        heads,
        kv_heads,
        head_dim,
    } = sizes;
    let (query_rows, key_rows) = (heads * head_dim, kv_heads * head_dim);
    let mut y = vec![0.0; queries.len()];
    for token in 0..queries.len() / query_rows {
        for head in 0..heads {
            let own = token * query_rows + head * head_dim;
            let kv = head / (heads / kv_heads) * head_dim;
            let score = |key: usize| {
                let pairs = queries[own..own + head_dim]
                    .iter()
                    .zip(&keys[key * key_rows + kv..]);
                pairs
                    .map(|(q, k)| f64::from(*q) * f64::from(*k))
                    .sum::<f64>()
                    / (head_dim as f64).sqrt()
            };
            let scores: Vec<f64> = (0..=position + token).map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let total: f64 = weights.iter().sum();
            for i in 0..head_dim {
                let value = |(key, weight): (usize, &f64)| {
                    weight * f64::from(values[key * key_rows + kv + i])
                };
                y[own + i] = (weights.iter().enumerate().map(value).sum::<f64>() / total) as f32;
            }
        }
    }
    y
}
