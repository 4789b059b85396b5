//! `y = x`.

/// Copies.
pub fn copy(x: &[f32]) -> Vec<f32> {
    x.to_vec()
}
