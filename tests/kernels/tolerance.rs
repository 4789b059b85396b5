//! The one table of tolerances, relative to the largest expected value. References sum in f64; a kernel that
//! sums `n` numbers in f32 may be off by a few roundings of 6e-8 times the square root of `n`.

/// A sum of `n` products in f32.
pub(crate) fn sum(n: usize) -> f32 {
    4.0 * f32::EPSILON * (n as f32).sqrt()
}

/// What went through a KV cache of f16: 11 significant bits.
pub(crate) const F16: f32 = 1e-3;

/// exp, sigmoid and the like: WGSL allows a few units in the last place, growing with the argument.
pub(crate) const TRANSCENDENTAL: f32 = 4e-6;

/// Values that are copied or decoded: no rounding at all.
pub(crate) const EXACT: f32 = 0.0;
