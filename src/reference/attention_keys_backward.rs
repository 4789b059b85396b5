//! `dv_s = sum_t p_ts dy_t`, `dk_s = sum_t p_ts (dy_t . v_s - delta_t) q_t / sqrt(D)`, over the tokens from `s` on and
//! the query heads that share a key head; `p` and `delta` as in `attention_backward`.

use super::attention::{Heads, softmax};
use super::dot::dot;

/// The gradients of `attention` with respect to `keys` and `values [tokens, K]`, of `queries` and `dy [tokens, Q]`,
/// the first at position 0.
pub fn attention_keys_backward(
    queries: &[f32],
    [keys, values]: [&[f32]; 2],
    dy: &[f32],
    sizes: Heads,
) -> (Vec<f32>, Vec<f32>) {
    let (size, key_rows) = (sizes.head_dim, sizes.kv_heads * sizes.head_dim);
    let (mut dk, mut dv) = (vec![0.0f64; keys.len()], vec![0.0f64; values.len()]);
    for token in 0..queries.len() / (sizes.heads * size) {
        for head in 0..sizes.heads {
            let own = (token * sizes.heads + head) * size;
            let kv = sizes.kv_column(head);
            let (p, _) = softmax(&queries[own..own + size], &keys[kv..], token, key_rows);
            let along = |key: usize| dot(&dy[own..own + size], &values[key * key_rows + kv..]);
            let along: Vec<f64> = (0..=token).map(along).collect();
            let delta: f64 = p.iter().zip(&along).map(|(p, along)| p * along).sum();
            for key in 0..=token {
                let ds = p[key] * (along[key] - delta) / (size as f64).sqrt();
                for i in 0..size {
                    dk[key * key_rows + kv + i] += ds * f64::from(queries[own + i]);
                    dv[key * key_rows + kv + i] += p[key] * f64::from(dy[own + i]);
                }
            }
        }
    }
    let round = |sums: Vec<f64>| sums.iter().map(|sum| *sum as f32).collect();
    (round(dk), round(dv))
}
