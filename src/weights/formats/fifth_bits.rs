//! Blocks of 32 values of five bits, as `q5_0` and `q5_1` have them: 32 fifth bits and then 16 bytes of [`nibbles`].

use super::nibbles;
use crate::weights::Packed;

/// The fifth bit of value `j`.
fn fifth(bytes: &[u8], j: usize) -> u8 {
    bytes[j / 8] >> (j % 8) & 1
}

/// The values of a block, in their order.
pub(super) fn read(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let low = nibbles::read(&bytes[4..]).enumerate();
    low.map(|(j, low)| low | fifth(bytes, j) << 4)
}

/// Appends a block.
pub(super) fn push(values: &[f32], out: &mut Vec<u8>, quantum: impl Fn(f32) -> f32) {
    let quanta = nibbles::quanta(values, 31.0, quantum);
    let fifth = |bits, (j, q): (usize, &u8)| bits | u32::from(q >> 4) << j;
    let fifths: u32 = quanta.iter().enumerate().fold(0, fifth);
    out.extend(fifths.to_le_bytes());
    out.extend(nibbles::pack(&quanta));
}

/// What the GPU has of a block behind a scale, and a minimum if there is one, of `HEADER` bytes: these have a word of their
/// own, of which `q5_0` leaves half empty, since three halves of words would take another load.
pub(super) const fn packed<const HEADER: usize>() -> Packed {
    Packed {
        quants_bytes: 16,
        scales: 2,
        scale_bytes: 4,
        split: |block, quants, scales| {
            let (header, block) = block.split_at(HEADER);
            scales[..HEADER].copy_from_slice(header);
            spread(|j| fifth(block, j), &mut scales[4..]);
            quants.copy_from_slice(&block[4..]);
        },
    }
}

/// A word of 32 bits: bit `i` of byte `k` is that of value `4 i + k`, so that four neighbours take one shift.
pub(super) fn spread(bit: impl Fn(usize) -> u8, word: &mut [u8]) {
    for (k, byte) in word.iter_mut().enumerate() {
        *byte = (0..8).fold(0, |byte, i| byte | bit(4 * i + k) << i);
    }
}
