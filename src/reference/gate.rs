//! `g = sigmoid(logit(s) / temperature)`, `s = mean_t(p_t)`: how far a sublayer's gate is open.

use super::router_score::pool;

/// Scores are kept this far from 0 and 1, where their logit is infinite.
const MARGIN: f32 = 1e-6;

/// The gate and the score of a prompt whose tokens have scores `p`. A hard gate is the step at 0.5.
pub fn gate(p: &[f32], temperature: f32, hard: bool) -> [f32; 2] {
    let s = pool(p).clamp(MARGIN, 1.0 - MARGIN);
    let g = if hard {
        f64::from(u8::from(s >= 0.5))
    } else {
        soft(s, temperature)
    };
    [g as f32, s]
}

/// The gate that gradients are taken of.
pub(super) fn soft(s: f32, temperature: f32) -> f64 {
    let s = f64::from(s);
    1.0 / (1.0 + (-(s / (1.0 - s)).ln() / f64::from(temperature)).exp())
}
