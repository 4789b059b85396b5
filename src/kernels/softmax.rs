//! Logits become probabilities. See `shaders/softmax.wgsl`.

use super::{assert_holds, op, reduce, workgroups};
use crate::error::Result;
use crate::gpu::{Buffer, Class, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// V.
        vocab: u32,
    }
}

pub(super) fn variant(class: &Class) -> Variant {
    Variant::new("softmax").import("reduce", reduce(class))
}

/// A step that turns `y [tokens, vocab]` into probabilities.
pub fn step(gpu: &Gpu, y: &Buffer, [tokens, vocab]: [usize; 2]) -> Result<Step> {
    assert_holds("softmax", y, tokens * vocab);
    let op = op::<Params>(gpu, variant(&gpu.class), &[("y", y)])?;
    let params = Params {
        vocab: vocab as u32,
    };
    Ok(Step::new(
        "softmax",
        &op,
        &params,
        [workgroups(tokens), 1, 1],
    ))
}
