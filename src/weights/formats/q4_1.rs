//! `q4_1`: blocks of 32 values in 20 bytes: an f16 scale `d`, an f16 minimum `m`, then 16 bytes of nibbles
//! `q`, value `j` in the low half of byte `j`, value `j + 16` in the high half; value = `d * q + m`.

use super::nibbles;
use crate::weights::{Packed, Spec, push_affine, read_f16};

pub(super) static SPEC: Spec = Spec {
    name: "q4_1",
    shader: "weights/q4_1",
    ggml_type: 3,
    block_len: 32,
    block_bytes: 20,
    decode: |bytes, out| {
        for (block, out) in bytes.chunks_exact(20).zip(out.chunks_exact_mut(32)) {
            let (d, m) = (read_f16(block), read_f16(&block[2..]));
            for (q, out) in nibbles::read(&block[4..]).zip(out) {
                *out = d * f32::from(q) + m;
            }
        }
    },
    encode: |values, out| {
        for block in values.chunks_exact(32) {
            let (inverse, m) = push_affine(block, 15.0, out);
            let quanta = nibbles::quanta(block, 15.0, |v| (v - m) * inverse);
            out.extend(nibbles::pack(&quanta));
        }
    },
    packed: Packed::behind_scale(20, 4),
};
