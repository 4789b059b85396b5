//! The gradient of RMSNorm with respect to its input. See `shaders/rms_norm_backward.wgsl`.

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

/// What goes in and out.
#[derive(Clone, Copy, Debug)]
pub struct RmsNormBackward<'a> {
    /// `[tokens, H]`.
    pub x: &'a Buffer,
    /// `[H]`.
    pub gamma: &'a Buffer,
    /// `[tokens, H]`.
    pub dy: &'a Buffer,
    /// `[tokens, H]`, added to.
    pub dx: &'a Buffer,
}

pub(super) fn variant(class: &Class, epsilon: f32) -> Variant {
    Variant::new("rms_norm_backward")
        .import("reduce", reduce(class))
        .set("EPSILON", epsilon)
}

/// A step that adds to `dx [tokens, hidden]`, from `x` and `dy` of the same shape and `gamma [hidden]`.
pub fn step(
    gpu: &Gpu,
    label: &str,
    buffers: RmsNormBackward<'_>,
    [tokens, hidden]: [usize; 2],
    epsilon: f32,
) -> Result<Step> {
    let RmsNormBackward { x, gamma, dy, dx } = buffers;
    for buffer in [x, dy, dx] {
        assert_holds(label, buffer, tokens * hidden);
    }
    assert_holds(label, gamma, hidden);
    let buffers = [("x", x), ("gamma", gamma), ("dy", dy), ("dx", dx)];
    let op = op::<Params>(gpu, variant(&gpu.class, epsilon), &buffers)?;
    let params = Params {
        fours: hidden as u32 / 4,
    };
    Ok(Step::new(label, &op, &params, [workgroups(tokens), 1, 1]))
}
