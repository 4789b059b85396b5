//! The loss of each token. See `shaders/cross_entropy.wgsl`.

use super::{assert_holds, op, reduce, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// V.
        vocab: u32,
    }
}

/// A step that writes `losses [tokens]` for `logits [tokens, vocab]` and `targets [tokens]`.
pub fn step(
    gpu: &Gpu,
    [logits, targets, losses]: [&Buffer; 3],
    [tokens, vocab]: [usize; 2],
) -> Result<Step> {
    assert_holds("cross_entropy logits", logits, tokens * vocab);
    assert_holds("cross_entropy targets", targets, tokens);
    assert_holds("cross_entropy losses", losses, tokens);
    let variant = Variant::new("cross_entropy").import("reduce", reduce(&gpu.class));
    let op = op::<Params>(
        gpu,
        variant,
        &[("logits", logits), ("targets", targets), ("losses", losses)],
    )?;
    Ok(Step::new(
        "cross_entropy",
        &op,
        &Params {
            vocab: vocab as u32,
        },
        [workgroups(tokens), 1, 1],
    ))
}
