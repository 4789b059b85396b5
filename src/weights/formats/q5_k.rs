//! `q5_k`: blocks of 256 values in 176 bytes: a header of 16, which [`sub_blocks`] describes, 32 bytes of fifth bits,
//! bit `i` of byte `j` for value `j` of sub-block `i`, then 128 bytes of nibbles as in `q4_k`.

use super::fifth_bits;
use super::nibbles;
use super::sub_blocks::{self, SubBlocks};
use crate::weights::{Packed, Spec};

/// Where the nibbles begin, behind the fifth bits.
const NIBBLES: usize = sub_blocks::BYTES + 32;

/// The fifth bit of value `j` of a sub-block.
fn fifth(block: &[u8], index: usize, j: usize) -> u8 {
    block[sub_blocks::BYTES + j] >> index & 1
}

pub(super) static SPEC: Spec = Spec {
    name: "q5_k",
    shader: "weights/q5_k",
    ggml_type: 13,
    block_len: 256,
    block_bytes: 176,
    decode: |bytes, out| {
        for (block, out) in bytes.chunks_exact(176).zip(out.chunks_exact_mut(256)) {
            let quantum = |index, j| {
                let low = sub_blocks::nibble(&block[NIBBLES..], index, j);
                low | fifth(block, index, j) << 4
            };
            sub_blocks::decode(block, out, quantum);
        }
    },
    encode: |values, out| {
        for block in values.chunks_exact(256) {
            let header = SubBlocks::push(block, 31.0, out);
            let quanta = header.quanta(block, 31.0);
            let fifths = |j: usize| (0..8).fold(0, |bits, i| bits | quanta[32 * i + j] >> 4 << i);
            out.extend((0..32).map(fifths));
            out.extend(quanta.chunks_exact(64).flat_map(nibbles::pack));
        }
    },
    // Behind the header's words a word of fifth bits for each sub-block.
    packed: Packed {
        quants_bytes: 128,
        scales: 13,
        scale_bytes: 4,
        split: |block, quants, scales| {
            SubBlocks::split(block, scales);
            for (index, word) in scales[20..].chunks_exact_mut(4).enumerate() {
                fifth_bits::spread(|j| fifth(block, index, j), word);
            }
            let nibble = |index, j| sub_blocks::nibble(&block[NIBBLES..], index, j);
            nibbles::regroup(nibble, quants);
        },
    },
};
