//! The gradient of the routers' scores with respect to the residual stream. See
//! `shaders/router_score_backward.wgsl`.

use super::{assert_holds, op, reduce, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// H / 4.
        fours: u32,
        /// Columns of `dz`.
        stride: u32,
    }
}

/// What goes in and out.
#[derive(Clone, Copy, Debug)]
pub struct RouterScoreBackward<'a> {
    /// `[tokens, H]`.
    pub x: &'a Buffer,
    /// `[2, H]`.
    pub w: &'a Buffer,
    /// `[tokens, H]`, added to.
    pub dx: &'a Buffer,
    /// `[2, stride]`.
    pub dz: &'a Buffer,
}

pub(super) fn variant(class: &Class, epsilon: f32) -> Variant {
    Variant::new("router_score_backward")
        .import("reduce", reduce(class))
        .set("EPSILON", epsilon)
}

/// A step that adds to `dx [tokens, hidden]` and divides `dz [2, stride]` by each token's rms, from
/// `x [tokens, hidden]` and `w [2, hidden]`.
pub fn step(
    gpu: &Gpu,
    label: &str,
    buffers: RouterScoreBackward<'_>,
    [tokens, hidden, stride]: [usize; 3],
    epsilon: f32,
) -> Result<Step> {
    let RouterScoreBackward { x, w, dx, dz } = buffers;
    for buffer in [x, dx] {
        assert_holds(label, buffer, tokens * hidden);
    }
    assert_holds(label, w, 2 * hidden);
    assert_holds(label, dz, 2 * stride);
    let buffers = [("x", x), ("w", w), ("dx", dx), ("dz", dz)];
    let op = op::<Params>(gpu, variant(&gpu.class, epsilon), &buffers)?;
    let params = Params {
        fours: hidden as u32 / 4,
        stride: stride as u32,
    };
    Ok(Step::new(label, &op, &params, [workgroups(tokens), 1, 1]))
}
