//! `bf16`: the upper 16 bits of 32-bit floats, little-endian, a block is one value.

use crate::weights::{Packed, Spec};
use half::bf16;

pub(super) static SPEC: Spec = Spec {
    name: "bf16",
    shader: "weights/bf16",
    ggml_type: 30,
    block_len: 1,
    block_bytes: 2,
    decode: |bytes, out| {
        for (bytes, out) in bytes.as_chunks::<2>().0.iter().zip(out) {
            *out = bf16::from_le_bytes(*bytes).to_f32();
        }
    },
    encode: |values, out| {
        out.extend(
            values
                .iter()
                .flat_map(|&value| bf16::from_f32(value).to_le_bytes()),
        );
    },
    packed: Packed::plain(64),
};
