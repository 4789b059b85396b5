//! `y += product`.

/// Adds a product to the residual stream.
pub fn residual(y: &[f32], product: &[f32]) -> Vec<f32> {
    y.iter()
        .zip(product)
        .map(|(y, product)| y + product)
        .collect()
}
