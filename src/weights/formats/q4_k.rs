//! `q4_k`: blocks of 256 values in 144 bytes: a header of 16, which [`sub_blocks`] describes, then 128 bytes of nibbles,
//! 32 for two sub-blocks of 32, the first in the low halves.

use super::nibbles;
use super::sub_blocks::{self, SubBlocks};
use crate::weights::{Packed, Spec};

pub(super) static SPEC: Spec = Spec {
    name: "q4_k",
    shader: "weights/q4_k",
    ggml_type: 12,
    block_len: 256,
    block_bytes: 144,
    decode: |bytes, out| {
        for (block, out) in bytes.chunks_exact(144).zip(out.chunks_exact_mut(256)) {
            let quants = &block[sub_blocks::BYTES..];
            sub_blocks::decode(block, out, |index, j| sub_blocks::nibble(quants, index, j));
        }
    },
    encode: |values, out| {
        for block in values.chunks_exact(256) {
            let header = SubBlocks::push(block, 15.0, out);
            let quanta = header.quanta(block, 15.0);
            out.extend(quanta.chunks_exact(64).flat_map(nibbles::pack));
        }
    },
    packed: Packed {
        quants_bytes: 128,
        scales: 5,
        scale_bytes: 4,
        split: |block, quants, scales| {
            SubBlocks::split(block, scales);
            let bytes = &block[sub_blocks::BYTES..];
            nibbles::regroup(|index, j| sub_blocks::nibble(bytes, index, j), quants);
        },
    },
};
