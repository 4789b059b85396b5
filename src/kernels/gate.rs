//! Gates of one layer from its routers' scores. See `shaders/gate.wgsl`.

use super::{assert_holds, op, reduce};
use crate::error::Result;
use crate::gpu::{ALIGNMENT_BYTES, Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Tokens of the prompt.
        tokens: u32,
        /// Columns of the scores.
        stride: u32,
        /// How soft the step is.
        temperature: f32,
        /// 1: the step itself.
        hard: u32,
    }
}

/// Numbers from one gate to the next: gate, score, gradient, and padding to what bindings are aligned to.
pub const STRIDE: usize = ALIGNMENT_BYTES / 4;
/// Where among these numbers the gate is.
pub const GATE: usize = 0;
/// See [`GATE`].
pub const SCORE: usize = 1;
/// See [`GATE`].
pub const GRADIENT: usize = 2;

pub(super) fn variant(class: &Class) -> Variant {
    Variant::new("gate")
        .import("reduce", reduce(class))
        .set("STRIDE", STRIDE as u32)
}

/// How a layer's gates come from scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gating {
    /// `sigmoid(logit(score) / temperature)`.
    pub temperature: f32,
    /// The step at 0.5 instead; gradients are still those of the soft gate.
    pub hard: bool,
}

/// A step that writes `gates [2, STRIDE]` from `scores [2, stride]` of the first `tokens` tokens.
pub fn step(
    gpu: &Gpu,
    label: &str,
    [scores, gates]: [&Buffer; 2],
    [tokens, stride]: [usize; 2],
    gating: Gating,
) -> Result<Step> {
    assert!(tokens <= stride, "{label}: {tokens} tokens of {stride}");
    assert_holds(label, scores, 2 * stride);
    assert_holds(label, gates, 2 * STRIDE);
    let op = op::<Params>(gpu, variant(&gpu.class), &[("p", scores), ("gates", gates)])?;
    let params = Params {
        tokens: tokens as u32,
        stride: stride as u32,
        temperature: gating.temperature,
        hard: u32::from(gating.hard),
    };
    Ok(Step::new(label, &op, &params, [1, 1, 1]))
}
