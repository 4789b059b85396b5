//! `q4_0`: blocks of 32 values in 18 bytes: an f16 scale `d`, then 16 bytes of nibbles `q`, value `j` in the
//! low half of byte `j`, value `j + 16` in the high half; value = `d * (q - 8)`.

use crate::weights::{Packed, Spec, decode_nibbles, encode_nibbles, inverse, push_f16, read_f16};

pub(super) static SPEC: Spec = Spec {
    name: "q4_0",
    ggml_type: 2,
    block_len: 32,
    block_bytes: 18,
    decode: |bytes, out| {
        for (block, out) in bytes.chunks_exact(18).zip(out.chunks_exact_mut(32)) {
            let d = read_f16(block);
            decode_nibbles(&block[2..], out, |q| d * (f32::from(q) - 8.0));
        }
    },
    encode: |values, out| {
        for block in values.chunks_exact(32) {
            // -8 has no positive twin, so the value of largest magnitude is the one that becomes it.
            let largest = block
                .iter()
                .fold(0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
            let inverse = inverse(push_f16(largest / -8.0, out));
            encode_nibbles(block, out, |v| v * inverse + 8.0);
        }
    },
    packed: Packed::behind_scale(18, 2),
};
