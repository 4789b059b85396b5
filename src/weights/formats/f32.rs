//! `f32`: little-endian 32-bit floats, a block is one value.

use crate::weights::{Packed, Spec};

pub(super) static SPEC: Spec = Spec {
    name: "f32",
    shader: "weights/f32",
    ggml_type: 0,
    block_len: 1,
    block_bytes: 4,
    decode: |bytes, out| {
        for (bytes, out) in bytes.as_chunks::<4>().0.iter().zip(out) {
            *out = f32::from_le_bytes(*bytes);
        }
    },
    encode: |values, out| out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
    packed: Packed::plain(128),
};
