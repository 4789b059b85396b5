//! `f16`: little-endian IEEE 16-bit floats, a block is one value.

use crate::weights::{Packed, Spec, push_f16, read_f16};

pub(super) static SPEC: Spec = Spec {
    name: "f16",
    shader: "weights/f16",
    ggml_type: 1,
    block_len: 1,
    block_bytes: 2,
    decode: |bytes, out| {
        for (bytes, out) in bytes.chunks_exact(2).zip(out) {
            *out = read_f16(bytes);
        }
    },
    encode: |values, out| {
        for &value in values {
            push_f16(value, out);
        }
    },
    packed: Packed::plain(64),
};
