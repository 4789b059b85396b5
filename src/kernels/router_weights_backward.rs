//! The gradient of the routers' scores with respect to their weights. See
//! `shaders/router_weights_backward.wgsl`.

use super::{assert_holds, op, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Tokens of the prompt.
        tokens: u32,
        /// H / 4.
        fours: u32,
        /// Columns of `dz`.
        stride: u32,
    }
}

pub(super) fn variant() -> Variant {
    Variant::new("router_weights_backward")
}

/// A step that adds to `dw [2, hidden]`, from `x [tokens, hidden]` and the `dz [2, stride]` that
/// `router_score_backward` left.
pub fn step(
    gpu: &Gpu,
    label: &str,
    [x, dz, dw]: [&Buffer; 3],
    [tokens, hidden, stride]: [usize; 3],
) -> Result<Step> {
    assert_holds(label, x, tokens * hidden);
    assert_holds(label, dz, 2 * stride);
    assert_holds(label, dw, 2 * hidden);
    let op = op::<Params>(gpu, variant(), &[("x", x), ("dz", dz), ("dw", dw)])?;
    let lanes = op.workgroup_size()[0] as usize;
    let params = Params {
        tokens: tokens as u32,
        fours: hidden as u32 / 4,
        stride: stride as u32,
    };
    let size = [workgroups((hidden / 4).div_ceil(lanes)), 1, 1];
    Ok(Step::new(label, &op, &params, size))
}
