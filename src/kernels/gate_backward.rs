//! The gradient of the gates with respect to each token's score. See `shaders/gate_backward.wgsl`.

use super::gate::STRIDE;
use super::{assert_holds, op, reduce};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Tokens of the prompt.
        tokens: u32,
        /// Columns of the scores.
        stride: u32,
        /// How soft the step is.
        temperature: f32,
    }
}

/// What goes in and out.
#[derive(Clone, Copy, Debug)]
pub struct GateBackward<'a> {
    /// `[2, stride]`.
    pub scores: &'a Buffer,
    /// `[2, STRIDE]`.
    pub gates: &'a Buffer,
    /// `[2, stride]`.
    pub dz: &'a Buffer,
    /// `[2]`.
    pub db: &'a Buffer,
}

pub(super) fn variant(class: &Class) -> Variant {
    Variant::new("gate_backward")
        .import("reduce", reduce(class))
        .set("STRIDE", STRIDE as u32)
}

/// A step from `scores [2, stride]` and `gates [2, STRIDE]` to `dz [2, stride]`; adds to `db [2]`.
pub fn step(
    gpu: &Gpu,
    label: &str,
    buffers: GateBackward<'_>,
    [tokens, stride]: [usize; 2],
    temperature: f32,
) -> Result<Step> {
    let GateBackward {
        scores,
        gates,
        dz,
        db,
    } = buffers;
    assert!(tokens <= stride, "{label}: {tokens} tokens of {stride}");
    assert_holds(label, scores, 2 * stride);
    assert_holds(label, gates, 2 * STRIDE);
    assert_holds(label, dz, 2 * stride);
    assert_holds(label, db, 2);
    let buffers = [("p", scores), ("gates", gates), ("dz", dz), ("db", db)];
    let op = op::<Params>(gpu, variant(&gpu.class), &buffers)?;
    let params = Params {
        tokens: tokens as u32,
        stride: stride as u32,
        temperature,
    };
    Ok(Step::new(label, &op, &params, [1, 1, 1]))
}
