//! `y = a x + b`, many times over.

/// Turns each number `turns` times, rounding once a turn.
pub fn fma(x: &[f32], turns: u32, [a, b]: [f32; 2]) -> Vec<f32> {
    let turn = |x: &f32| (0..turns).fold(*x, |y, _| a.mul_add(y, b));
    x.iter().map(turn).collect()
}
