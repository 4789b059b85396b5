//! `q4_0`: blocks of 32 values in 18 bytes: an f16 scale `d`, then 16 bytes of nibbles `q`, value `j` in the
//! low half of byte `j`, value `j + 16` in the high half; value = `d * (q - 8)`.

use super::nibbles;
use crate::weights::{Packed, Spec, inverse, largest_magnitude, push_f16, read_f16};

pub(super) static SPEC: Spec = Spec {
    name: "q4_0",
    shader: "weights/q4_0",
    ggml_type: 2,
    block_len: 32,
    block_bytes: 18,
    decode: |bytes, out| {
        for (block, out) in bytes.chunks_exact(18).zip(out.chunks_exact_mut(32)) {
            let d = read_f16(block);
            for (q, out) in nibbles::read(&block[2..]).zip(out) {
                *out = d * (f32::from(q) - 8.0);
            }
        }
    },
    encode: |values, out| {
        for block in values.chunks_exact(32) {
            // -8 has no positive twin, so the value of largest magnitude is the one that becomes it.
            let inverse = inverse(push_f16(largest_magnitude(block) / -8.0, out));
            let quanta = nibbles::quanta(block, 15.0, |v| v * inverse + 8.0);
            out.extend(nibbles::pack(&quanta));
        }
    },
    packed: Packed::behind_scale(18, 2),
};
