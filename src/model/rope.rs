//! The angles of rotary position embeddings.

use super::config::Config;

/// Cos and sin of each position's angle for each pair of dimensions (arXiv 2104.09864), with the
/// per-frequency factors that Llama 3.1 files carry.
pub(super) fn rotations(config: &Config) -> Vec<[f32; 2]> {
    let pairs = config.head_dim / 2;
    let frequency = |pair: usize| {
        let factor = config
            .rope_factors
            .as_ref()
            .map_or(1.0, |factors| f64::from(factors[pair]));
        f64::from(config.rope_base).powf(-(pair as f64) / pairs as f64) / factor
    };
    let frequencies: Vec<f64> = (0..pairs).map(frequency).collect();
    let turn = |position: usize, frequency: f64| {
        let (sin, cos) = (position as f64 * frequency).sin_cos();
        [cos as f32, sin as f32]
    };
    (0..config.context)
        .flat_map(|position| frequencies.iter().map(move |f| turn(position, *f)))
        .collect()
}
