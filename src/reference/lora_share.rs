//! Shares of the way down of a low-rank update.

use super::lora_down::lora_down;

/// For each `share_rows` rows of `y`, their part of `A y`, of `a [rows, rank]`: `[shares, rank]`.
pub fn lora_share(y: &[f32], a: &[f32], rank: usize, share_rows: usize) -> Vec<f32> {
    let shares = y.chunks(share_rows).zip(a.chunks(share_rows * rank));
    shares
        .flat_map(|(y, a)| lora_down(y, a, rank, 1.0))
        .collect()
}
