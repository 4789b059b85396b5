//! The gradient of rotary position embedding: the rotation the other way round.

/// The gradient of `rope` with respect to `x [rows]`, of `dy [rows]` and `rotations [D / 2]` of cos and sin.
pub fn rope_backward(dy: &[f32], rotations: &[[f32; 2]]) -> Vec<f32> {
    let pairs = dy.chunks_exact(2).zip(rotations.iter().cycle());
    pairs
        .flat_map(|(dy, [cos, sin])| [dy[0] * cos + dy[1] * sin, dy[1] * cos - dy[0] * sin])
        .collect()
}
