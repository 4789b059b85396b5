//! `dq_t = sum_s p_ts (dy_t . v_s - delta_t) k_s / sqrt(D)`, `p` the softmax of `attention`, `delta_t = dy_t . y_t`.

use super::attention::{Heads, softmax};
use super::dot::dot;

/// The gradient of `attention` with respect to `queries [tokens, Q]`, the first at position 0, of
/// `keys` and `values [tokens, K]` and `dy [tokens, Q]`; and what `attention_keys_backward` is made from, for each
/// token and head: the logarithm of the softmax's sum, and delta.
pub fn attention_backward(
    queries: &[f32],
    [keys, values]: [&[f32]; 2],
    dy: &[f32],
    sizes: Heads,
) -> (Vec<f32>, Vec<[f32; 2]>) {
    let (size, key_rows) = (sizes.head_dim, sizes.kv_heads * sizes.head_dim);
    let mut dq = vec![0.0; queries.len()];
    let mut rows = Vec::new();
    for token in 0..queries.len() / (sizes.heads * size) {
        for head in 0..sizes.heads {
            let own = (token * sizes.heads + head) * size;
            let kv = sizes.kv_column(head);
            let (p, log) = softmax(&queries[own..own + size], &keys[kv..], token, key_rows);
            let along = |key: usize| dot(&dy[own..own + size], &values[key * key_rows + kv..]);
            let along: Vec<f64> = (0..=token).map(along).collect();
            let delta: f64 = p.iter().zip(&along).map(|(p, along)| p * along).sum();
            for i in 0..size {
                let key = |key: usize| {
                    p[key] * (along[key] - delta) * f64::from(keys[key * key_rows + kv + i])
                };
                dq[own + i] = ((0..=token).map(key).sum::<f64>() / (size as f64).sqrt()) as f32;
            }
            rows.push([log as f32, delta as f32]);
        }
    }
    (dq, rows)
}
