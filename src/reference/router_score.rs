//! `p = sigmoid(w . u + b)`, `u = x / rms(x)`: a router's score of each token, and of the prompt.

/// Scores each token of `x [tokens, H]` with `w [H]` and `b`; without an epsilon, `u = x`.
pub fn router_score(x: &[f32], w: &[f32], b: f32, epsilon: Option<f32>) -> Vec<f32> {
    let score = |x: &[f32]| {
        let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let dot: f64 = x
            .iter()
            .zip(w)
            .map(|(x, w)| f64::from(*x) * f64::from(*w))
            .sum();
        let rms = epsilon.map_or(1.0, |epsilon| {
            (squares / x.len() as f64 + f64::from(epsilon)).sqrt()
        });
        sigmoid(dot / rms + f64::from(b))
    };
    x.chunks_exact(w.len()).map(score).collect()
}

/// `1 / (1 + exp(-z))`.
pub fn sigmoid(z: f64) -> f32 {
    (1.0 / (1.0 + (-z).exp())) as f32
}

/// The score of a prompt: the mean over its tokens, in their order.
pub fn pool(tokens: &[f32]) -> f32 {
    (tokens.iter().map(|score| f64::from(*score)).sum::<f64>() / tokens.len().max(1) as f64) as f32
}
