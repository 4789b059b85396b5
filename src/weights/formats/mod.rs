//! One small file per weight format: its name, its block, and how a block's bytes spell values.
//!
//! To add a format: its file here, its row below, its variant in [`Format`] and [`Format::ALL`], its shader;
//! `scripts/make-format-goldens.py` for blocks to compare with. What several formats have in
//! common is in `nibbles`, `fifth_bits` and `sub_blocks`.

mod bf16;
mod f16;
mod f32;
mod fifth_bits;
mod nibbles;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod sub_blocks;

use super::{Format, Spec};

/// What the format's file declares.
pub(super) fn spec(format: Format) -> &'static Spec {
    match format {
        Format::F32 => &f32::SPEC,
        Format::F16 => &f16::SPEC,
        Format::Bf16 => &bf16::SPEC,
        Format::Q8_0 => &q8_0::SPEC,
        Format::Q4_0 => &q4_0::SPEC,
        Format::Q4_1 => &q4_1::SPEC,
        Format::Q5_0 => &q5_0::SPEC,
        Format::Q5_1 => &q5_1::SPEC,
        Format::Q4K => &q4_k::SPEC,
        Format::Q5K => &q5_k::SPEC,
        Format::Q6K => &q6_k::SPEC,
    }
}
