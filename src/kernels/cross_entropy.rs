//! The loss of each token. See `shaders/cross_entropy.wgsl`.

use super::{assert_holds, op, reduce, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// Tokens of the vocabulary.
        vocab: u32,
    }
}

/// Another model, from which to learn too.
#[derive(Clone, Copy, Debug)]
pub struct Teacher<'a> {
    /// Its probabilities, `[tokens, vocab]`.
    pub probabilities: &'a Buffer,
    /// Its share of the targets; the token ids have the rest.
    pub share: f32,
}

/// A kernel with targets: token ids, or for a share of them a teacher's probabilities.
pub(super) fn with_targets(kernel: &'static str, class: &Class, share: Option<f32>) -> Variant {
    let variant = Variant::new(kernel).import("reduce", reduce(class));
    match share {
        None => variant.import("targets", "targets/hard"),
        Some(share) => variant
            .import("targets", "targets/soft")
            .set("SHARE", share),
    }
}

/// The bindings of its targets.
pub(super) fn target_buffers<'a>(
    targets: &'a Buffer,
    teacher: Option<Teacher<'a>>,
    [tokens, vocab]: [usize; 2],
) -> Vec<(&'static str, &'a Buffer)> {
    assert_holds("targets", targets, tokens);
    let mut buffers = vec![("targets", targets)];
    if let Some(Teacher { probabilities, .. }) = teacher {
        assert_holds("the teacher's probabilities", probabilities, tokens * vocab);
        buffers.push(("teacher", probabilities));
    }
    buffers
}

pub(super) fn variant(class: &Class, share: Option<f32>) -> Variant {
    with_targets("cross_entropy", class, share)
}

/// A step that writes `losses [tokens]` for `logits [tokens, vocab]` and `targets [tokens]`.
pub fn step(
    gpu: &Gpu,
    [logits, targets, losses]: [&Buffer; 3],
    teacher: Option<Teacher<'_>>,
    [tokens, vocab]: [usize; 2],
) -> Result<Step> {
    assert_holds("cross_entropy logits", logits, tokens * vocab);
    assert_holds("cross_entropy losses", losses, tokens);
    let mut buffers = target_buffers(targets, teacher, [tokens, vocab]);
    buffers.extend([("logits", logits), ("losses", losses)]);
    let share = teacher.map(|teacher| teacher.share);
    let op = op::<Params>(gpu, variant(&gpu.class, share), &buffers)?;
    Ok(Step::new(
        "cross_entropy",
        &op,
        &Params {
            vocab: vocab as u32,
        },
        [workgroups(tokens), 1, 1],
    ))
}
