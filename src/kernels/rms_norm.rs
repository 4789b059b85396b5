//! RMSNorm of each token. See `shaders/rms_norm.wgsl`.

use super::{assert_holds, op, reduce, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// H / 4.
        fours: u32,
    }
}

pub(super) fn variant(class: &Class, epsilon: f32) -> Variant {
    Variant::new("rms_norm")
        .import("reduce", reduce(class))
        .set("EPSILON", epsilon)
}

/// A step that writes `y [tokens, hidden]` from `x` of the same shape and `gamma [hidden]`.
pub fn step(
    gpu: &Gpu,
    label: &str,
    [x, gamma, y]: [&Buffer; 3],
    [tokens, hidden]: [usize; 2],
    epsilon: f32,
) -> Result<Step> {
    assert_holds(label, x, tokens * hidden);
    assert_holds(label, y, tokens * hidden);
    assert_holds(label, gamma, hidden);
    let op = op::<Params>(
        gpu,
        variant(&gpu.class, epsilon),
        &[("x", x), ("gamma", gamma), ("y", y)],
    )?;
    Ok(Step::new(
        label,
        &op,
        &Params {
            fours: hidden as u32 / 4,
        },
        [workgroups(tokens), 1, 1],
    ))
}
