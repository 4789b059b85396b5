//! `dx_i = dz (w_i - u_i sum_j(u_j w_j) / H) / r`, `u = x / r`, `r = sqrt(mean(x^2) + epsilon)`.

/// The gradient of `router_score` with respect to `x [tokens, H]`, of `w [H]` and `dz [tokens]`, the gradient of what
/// the sigmoid takes; and `dz / r`, from which `router_weights_backward` is made.
pub fn router_score_backward(
    x: &[f32],
    w: &[f32],
    dz: &[f32],
    epsilon: f32,
) -> (Vec<f32>, Vec<f32>) {
    let count = w.len() as f64;
    let (mut dx, mut scaled) = (Vec::new(), Vec::new());
    for (x, dz) in x.chunks_exact(w.len()).zip(dz) {
        let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let rms = (squares / count + f64::from(epsilon)).sqrt();
        let u: Vec<f64> = x.iter().map(|x| f64::from(*x) / rms).collect();
        let along: f64 = u.iter().zip(w).map(|(u, w)| u * f64::from(*w)).sum();
        let dz = f64::from(*dz) / rms;
        let own = u.iter().zip(w);
        dx.extend(own.map(|(u, w)| (dz * (f64::from(*w) - u * along / count)) as f32));
        scaled.push(dz as f32);
    }
    (dx, scaled)
}
