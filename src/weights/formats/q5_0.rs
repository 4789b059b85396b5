//! `q5_0`: blocks of 32 values in 22 bytes: an f16 scale `d`, 32 fifth bits, bit `j` of value `j`, then 16 bytes of
//! nibbles as in `q4_0`; value = `d * (q - 16)`.

use super::fifth_bits;
use crate::weights::{Spec, inverse, largest_magnitude, push_f16, read_f16};

pub(super) static SPEC: Spec = Spec {
    name: "q5_0",
    shader: "weights/q5_0",
    ggml_type: 6,
    block_len: 32,
    block_bytes: 22,
    decode: |bytes, out| {
        for (block, out) in bytes.chunks_exact(22).zip(out.chunks_exact_mut(32)) {
            let d = read_f16(block);
            for (q, out) in fifth_bits::read(&block[2..]).zip(out) {
                *out = d * (f32::from(q) - 16.0);
            }
        }
    },
    encode: |values, out| {
        for block in values.chunks_exact(32) {
            // -16 has no positive twin, so the value of largest magnitude is the one that becomes it.
            let inverse = inverse(push_f16(largest_magnitude(block) / -16.0, out));
            fifth_bits::push(block, out, |v| v * inverse + 16.0);
        }
    },
    packed: fifth_bits::packed::<2>(),
};
