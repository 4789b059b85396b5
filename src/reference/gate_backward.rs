//! `ds = dg g (1 - g) / (temperature s (1 - s))`, `dz_t = ds p_t (1 - p_t) / tokens`, `db = sum_t dz_t`.

use super::gate::soft;

/// The gradient of `gate`, whose score is `s`, with respect to what the sigmoid of each token's score `p` takes; and
/// their sum, that of the router's bias.
pub fn gate_backward(p: &[f32], s: f32, dg: f32, temperature: f32) -> (Vec<f32>, f32) {
    let g = soft(s, temperature);
    let [s, dg, temperature] = [s, dg, temperature].map(f64::from);
    let ds = dg * g * (1.0 - g) / (temperature * s * (1.0 - s));
    let tokens = p.len() as f64;
    let dz = |p: &f32| ds * f64::from(*p) * (1.0 - f64::from(*p)) / tokens;
    let dz: Vec<f64> = p.iter().map(dz).collect();
    (
        dz.iter().map(|dz| *dz as f32).collect(),
        dz.iter().sum::<f64>() as f32,
    )
}
