//! Rotary position embedding of neighbouring pairs.

/// Rotates each head of `x [rows]`, a query or key at one position, by `rotations [D / 2]` of cos and sin.
pub fn rope(x: &[f32], rotations: &[[f32; 2]]) -> Vec<f32> {
    let pairs = x.chunks_exact(2).zip(rotations.iter().cycle());
    pairs
        .flat_map(|(x, [cos, sin])| [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos])
        .collect()
}
