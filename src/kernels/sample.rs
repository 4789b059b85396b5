//! Drawing a token by temperature, top-k, top-p and min-p. See `shaders/sample.wgsl`.

use super::{assert_holds, op};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Variant};
use crate::trace::Sampling;

crate::params! {
    /// Run-time values.
    pub struct Params {
        /// V.
        vocab: u32,
        /// 0 keeps all.
        top_k: u32,
        /// 1 / temperature.
        inverse_temperature: f32,
        /// 1 keeps all.
        top_p: f32,
        /// 0 keeps all.
        min_p: f32,
        /// Numbers the sequence of draws.
        seed: u32,
    }
}

pub(super) fn variant() -> Variant {
    Variant::new("sample").import("reduce", "lib/reduce_workgroup")
}

/// A step that draws a token into `state` and advances its position; `weights [V]` is scratch.
pub fn step(
    gpu: &Gpu,
    [logits, weights, state]: [&Buffer; 3],
    vocab: usize,
    sampling: &Sampling,
) -> Result<Step> {
    assert_holds("sample logits", logits, vocab.next_multiple_of(4));
    assert_holds("sample weights", weights, vocab.next_multiple_of(4));
    assert!(sampling.temperature > 0.0, "temperature 0 is argmax");
    let variant = variant();
    let op = op::<Params>(
        gpu,
        variant,
        &[("logits", logits), ("weights", weights), ("state", state)],
    )?;
    let params = Params {
        vocab: vocab as u32,
        top_k: sampling.top_k,
        inverse_temperature: 1.0 / sampling.temperature,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        // Both halves of a 64-bit seed count.
        seed: (sampling.seed ^ (sampling.seed >> 32)) as u32,
    };
    Ok(Step::new("sample", &op, &params, [1, 1, 1]))
}
