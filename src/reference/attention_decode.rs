//! Attention of one new token: the last row of a causal attention.

use super::attention::{Heads, attention};

/// Attends from `queries [Q]` at `position` to `keys` and `values [C, K]`.
pub fn attention_decode(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    position: usize,
    sizes: Heads,
) -> Vec<f32> {
    attention(queries, keys, values, position, sizes)
}
