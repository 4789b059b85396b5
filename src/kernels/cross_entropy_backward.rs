//! The gradient of the loss with respect to the logits. See `shaders/cross_entropy_backward.wgsl`.

use super::{assert_holds, op, reduce, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// V.
        vocab: u32,
        /// What a token's loss weighs.
        scale: f32,
    }
}

pub(super) fn variant(class: &Class) -> Variant {
    Variant::new("cross_entropy_backward").import("reduce", reduce(class))
}

/// A step that turns `logits [tokens, vocab]` into their gradient, `scale` times that of each token's loss.
pub fn step(
    gpu: &Gpu,
    [logits, targets]: [&Buffer; 2],
    [tokens, vocab]: [usize; 2],
    scale: f32,
) -> Result<Step> {
    assert_holds("cross_entropy_backward logits", logits, tokens * vocab);
    assert_holds("cross_entropy_backward targets", targets, tokens);
    let buffers = [("targets", targets), ("logits", logits)];
    let op = op::<Params>(gpu, variant(&gpu.class), &buffers)?;
    let params = Params {
        vocab: vocab as u32,
        scale,
    };
    let size = [workgroups(tokens), 1, 1];
    Ok(Step::new("cross_entropy_backward", &op, &params, size))
}
