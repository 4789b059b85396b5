//! `y = W x`: a product with one vector.

use super::matmul::matmul;

/// Multiplies `w [rows, columns]` with `x [columns]`.
pub fn matvec(w: &[f32], x: &[f32]) -> Vec<f32> {
    matmul(w, x, x.len())
}
