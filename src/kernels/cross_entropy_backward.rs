//! The gradient of the loss with respect to the logits. See `shaders/cross_entropy_backward.wgsl`.

use super::cross_entropy::{Teacher, target_buffers, with_targets};
use super::{assert_holds, op, workgroups};
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

pub(super) fn variant(class: &Class, share: Option<f32>) -> Variant {
    with_targets("cross_entropy_backward", class, share)
}

/// A step that turns `logits [tokens, vocab]` into their gradient, `scale` times that of each token's loss.
pub fn step(
    gpu: &Gpu,
    [logits, targets]: [&Buffer; 2],
    teacher: Option<Teacher<'_>>,
    [tokens, vocab]: [usize; 2],
    scale: f32,
) -> Result<Step> {
    assert_holds("cross_entropy_backward logits", logits, tokens * vocab);
    let mut buffers = target_buffers(targets, teacher, [tokens, vocab]);
    buffers.push(("logits", logits));
    let share = teacher.map(|teacher| teacher.share);
    let op = op::<Params>(gpu, variant(&gpu.class, share), &buffers)?;
    let params = Params {
        vocab: vocab as u32,
        scale,
    };
    let size = [workgroups(tokens), 1, 1];
    Ok(Step::new("cross_entropy_backward", &op, &params, size))
}
