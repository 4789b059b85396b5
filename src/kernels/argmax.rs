//! The most likely token. See `shaders/argmax.wgsl`.

use super::{assert_holds, op, reduce};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// V.
        vocab: u32,
    }
}

/// A step that writes the token into `state` and advances its position.
pub fn step(gpu: &Gpu, logits: &Buffer, state: &Buffer, vocab: usize) -> Result<Step> {
    assert_holds("argmax logits", logits, vocab.next_multiple_of(4));
    assert!(vocab < 1 << 24, "ids up to {vocab} are not exact in f32");
    let variant = Variant::new("argmax").import("reduce", reduce(&gpu.class));
    let op = op::<Params>(gpu, variant, &[("logits", logits), ("state", state)])?;
    Ok(Step::new(
        "argmax",
        &op,
        &Params {
            vocab: vocab as u32,
        },
        [1, 1, 1],
    ))
}
