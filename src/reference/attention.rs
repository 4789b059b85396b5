//! `y_t = softmax(q_t K^T / sqrt(D)) V` over the positions up to `t`'s own.

use super::dot::dot;

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

impl Heads {
    /// Rows of all query heads, `Q`.
    pub fn query_rows(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Rows of all key heads, `K`.
    pub fn key_rows(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The first column of a query head's keys and values.
    pub(super) fn kv_column(&self, head: usize) -> usize {
        head / (self.heads / self.kv_heads) * self.head_dim
    }
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
            let kv = sizes.kv_column(head);
            let query = &queries[own..own + head_dim];
            let (weights, _) = softmax(query, &keys[kv..], position + token, key_rows);
            for i in 0..head_dim {
                let value = |(key, weight): (usize, &f64)| {
                    weight * f64::from(values[key * key_rows + kv + i])
                };
                y[own + i] = weights.iter().enumerate().map(value).sum::<f64>() as f32;
            }
        }
    }
    y
}

/// What each position up to `last` weighs for one query, and the logarithm of the sum that they were divided by.
pub(super) fn softmax(query: &[f32], keys: &[f32], last: usize, stride: usize) -> (Vec<f64>, f64) {
    let score = |key: usize| dot(query, &keys[key * stride..]) / (query.len() as f64).sqrt();
    let scores: Vec<f64> = (0..=last).map(score).collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
    let log = most + total.ln();
    let weights = scores.iter().map(|score| (score - log).exp());
    (weights.collect(), log)
}
