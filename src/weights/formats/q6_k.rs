//! `q6_k`: blocks of 256 values in 210 bytes: 128 bytes of low nibbles, 64 of the two bits above them, 16 signed scales,
//! one for 16 values, and an f16 scale `d` for all; value = `d * scale * (q - 32)`.
//!
//! Each half of 128 values has 64 bytes of nibbles and 32 of high bits. Of its value `32 k + l` the nibble is in byte
//! `32 (k % 2) + l`, in the upper half if `k` is 2 or 3, and the high bits are bits `2 k` and `2 k + 1` of byte `l`.

use super::nibbles;
use crate::weights::{Packed, Spec, inverse, largest_magnitude, push_f16, read_f16};

const HIGH: usize = 128;
const SCALES: usize = HIGH + 64;
const D: usize = SCALES + 16;

/// The low four bits of value `j` of 32, of which a block has eight.
fn low(block: &[u8], index: usize, j: usize) -> u8 {
    let (half, k) = (index / 4, index % 4);
    block[64 * half + 32 * (k % 2) + j] >> (k / 2 * 4) & 0xf
}

/// The two bits above them.
fn high(block: &[u8], index: usize, j: usize) -> u8 {
    let (half, k) = (index / 4, index % 4);
    block[HIGH + 32 * half + j] >> (2 * k) & 3
}

pub(super) static SPEC: Spec = Spec {
    name: "q6_k",
    shader: "weights/q6_k",
    ggml_type: 14,
    block_len: 256,
    block_bytes: 210,
    decode: |bytes, out| {
        for (block, out) in bytes.chunks_exact(210).zip(out.chunks_exact_mut(256)) {
            let d = read_f16(&block[D..]);
            for (sixteen, out) in out.chunks_exact_mut(16).enumerate() {
                let factor = d * f32::from(block[SCALES + sixteen].cast_signed());
                for (j, out) in out.iter_mut().enumerate() {
                    let (index, j) = (sixteen / 2, sixteen % 2 * 16 + j);
                    let q = low(block, index, j) | high(block, index, j) << 4;
                    *out = factor * (f32::from(q) - 32.0);
                }
            }
        }
    },
    encode: |values, out| {
        for values in values.chunks_exact(256) {
            // -32 and -128 have no positive twins, so the values of largest magnitude are those that become them.
            let sixteen = |i: usize| largest_magnitude(&values[16 * i..][..16]) / -32.0;
            let ideal: [f32; 16] = std::array::from_fn(sixteen);
            let mut tail = Vec::new();
            let d = push_f16(largest_magnitude(&ideal) / -128.0, &mut tail);
            let scales = ideal.map(|v| (v * inverse(d)).round().clamp(-128.0, 127.0) as i8);
            let quantum = |j: usize| {
                let inverse = inverse(d * f32::from(scales[j / 16]));
                (values[j] * inverse + 32.0).round().clamp(0.0, 63.0) as u8
            };
            let quanta: Vec<u8> = (0..256).map(quantum).collect();
            for half in quanta.chunks_exact(128) {
                out.extend(nibbles::pack(half));
            }
            for half in quanta.chunks_exact(128) {
                let bits =
                    |l: usize| (0..4).fold(0, |bits, k| bits | half[32 * k + l] >> 4 << (2 * k));
                out.extend((0..32).map(bits));
            }
            out.extend(scales.map(i8::cast_unsigned));
            out.extend(tail);
        }
    },
    // A word with d, four of scales, and for each 32 values two words of high bits: bits 2 i and 2 i + 1 of byte k of a
    // word are those of its value 4 i + k.
    packed: Packed {
        quants_bytes: 128,
        scales: 21,
        scale_bytes: 4,
        split: |block, quants, scales| {
            scales[..2].copy_from_slice(&block[D..]);
            scales[4..20].copy_from_slice(&block[SCALES..D]);
            for (index, words) in scales[20..].chunks_exact_mut(8).enumerate() {
                for (byte, out) in words.iter_mut().enumerate() {
                    let first = byte / 4 * 16 + byte % 4;
                    *out = (0..4).fold(0, |out, i| {
                        out | high(block, index, first + 4 * i) << (2 * i)
                    });
                }
            }
            nibbles::regroup(|index, j| low(block, index, j), quants);
        },
    },
};
