//! `x . y`.

/// The dot product of two vectors, as long as the shorter one.
pub fn dot(x: &[f32], y: &[f32]) -> f64 {
    let pairs = x.iter().zip(y);
    pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}
