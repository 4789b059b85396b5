//! `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `w -= rate (m / (1 - b1^step) / (sqrt(v / (1 - b2^step)) + epsilon) + decay w)`.

/// One step, counted from 1, of a parameter `w` with gradient `scale g` and moments `m` and `v`: what they are after.
pub fn adamw(
    [w, g, m, v]: [f32; 4],
    step: u32,
    [scale, rate, decay]: [f32; 3],
    [b1, b2, epsilon]: [f32; 3],
) -> [f32; 3] {
    let [w, g, m, v, scale, rate, decay] = [w, g, m, v, scale, rate, decay].map(f64::from);
    let [b1, b2, epsilon] = [b1, b2, epsilon].map(f64::from);
    let g = scale * g;
    let m = b1 * m + (1.0 - b1) * g;
    let v = b2 * v + (1.0 - b2) * g * g;
    let [c1, c2] = [b1, b2].map(|beta| 1.0 - beta.powi(step as i32));
    let w = w - rate * (m / c1 / ((v / c2).sqrt() + epsilon) + decay * w);
    [w, m, v].map(|value| value as f32)
}
