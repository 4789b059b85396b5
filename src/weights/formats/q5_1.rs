//! `q5_1`: blocks of 32 values in 24 bytes: an f16 scale `d`, an f16 minimum `m`, 32 fifth bits, bit `j` of value `j`,
//! then 16 bytes of nibbles as in `q4_1`; value = `d * q + m`.

use super::fifth_bits;
use crate::weights::{Spec, push_affine, read_f16};

pub(super) static SPEC: Spec = Spec {
    name: "q5_1",
    shader: "weights/q5_1",
    ggml_type: 7,
    block_len: 32,
    block_bytes: 24,
    decode: |bytes, out| {
        for (block, out) in bytes.chunks_exact(24).zip(out.chunks_exact_mut(32)) {
            let (d, m) = (read_f16(block), read_f16(&block[2..]));
            for (q, out) in fifth_bits::read(&block[4..]).zip(out) {
                *out = d * f32::from(q) + m;
            }
        }
    },
    encode: |values, out| {
        for block in values.chunks_exact(32) {
            let (inverse, m) = push_affine(block, 31.0, out);
            fifth_bits::push(block, out, |v| (v - m) * inverse);
        }
    },
    packed: fifth_bits::packed::<4>(),
};
