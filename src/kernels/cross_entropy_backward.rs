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

/// Another model, from which to learn too.
#[derive(Clone, Copy, Debug)]
pub struct Teacher<'a> {
    /// Its probabilities, `[tokens, vocab]`.
    pub probabilities: &'a Buffer,
    /// Of the targets: the rest are the token ids.
    pub share: f32,
}

pub(super) fn variant(class: &Class, share: Option<f32>) -> Variant {
    let variant = Variant::new("cross_entropy_backward").import("reduce", reduce(class));
    match share {
        None => variant.import("targets", "targets/hard"),
        Some(share) => variant
            .import("targets", "targets/soft")
            .set("SHARE", share),
    }
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
    assert_holds("cross_entropy_backward targets", targets, tokens);
    let mut buffers = vec![("targets", targets), ("logits", logits)];
    if let Some(teacher) = teacher {
        let probabilities = teacher.probabilities;
        assert_holds(
            "cross_entropy_backward teacher",
            probabilities,
            tokens * vocab,
        );
        buffers.push(("teacher", probabilities));
    }
    let share = teacher.map(|teacher| teacher.share);
    let op = op::<Params>(gpu, variant(&gpu.class, share), &buffers)?;
    let params = Params {
        vocab: vocab as u32,
        scale,
    };
    let size = [workgroups(tokens), 1, 1];
    Ok(Step::new("cross_entropy_backward", &op, &params, size))
}
