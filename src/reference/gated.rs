//! `y += gate * product`.

/// Adds a product to the residual stream, as far as its gate is open.
pub fn gated(y: &[f32], gate: f32, product: &[f32]) -> Vec<f32> {
    y.iter()
        .zip(product)
        .map(|(y, product)| y + gate * product)
        .collect()
}
