//! `q8_0`: blocks of 32 values in 34 bytes: an f16 scale `d`, then 32 signed bytes `q`; value = `d * q`.

use crate::weights::{Packed, Spec, inverse, push_f16, read_f16};

pub(super) static SPEC: Spec = Spec {
    name: "q8_0",
    shader: "weights/q8_0",
    ggml_type: 8,
    block_len: 32,
    block_bytes: 34,
    decode: |bytes, out| {
        for (block, out) in bytes.chunks_exact(34).zip(out.chunks_exact_mut(32)) {
            let d = read_f16(block);
            for (&q, out) in block[2..].iter().zip(out) {
                *out = d * f32::from(q.cast_signed());
            }
        }
    },
    encode: |values, out| {
        for block in values.chunks_exact(32) {
            let largest = block.iter().fold(0f32, |m, v| m.max(v.abs()));
            let inverse = inverse(push_f16(largest / 127.0, out));
            let quantum = |v: &f32| (v * inverse).round().clamp(-127.0, 127.0) as i8;
            out.extend(block.iter().map(|v| quantum(v).cast_unsigned()));
        }
    },
    packed: Packed::behind_scale(34, 2),
};
