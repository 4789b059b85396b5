//! The header that `q4_k` and `q5_k` share, 16 bytes before 256 values: an f16 scale `d` and an f16 `dmin` for all, then
//! in 12 bytes of 6 bits each a scale and a minimum for each of eight sub-blocks of 32. A sub-block's value is
//! `d * scale * q - dmin * minimum`.

use crate::weights::{inverse, push_f16, read_f16};

/// Bytes of the header.
pub(super) const BYTES: usize = 16;

/// A header, and those of one sub-block after another.
pub(super) struct SubBlocks {
    d: f32,
    dmin: f32,
    scales: [u8; 8],
    minima: [u8; 8],
}

impl SubBlocks {
    /// Reads a header. Of the last four sub-blocks the upper two bits lie above the six bits of the first four.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let packed = &bytes[4..BYTES];
        let number = |j: usize, first: usize, shift: u32| match j {
            0..4 => packed[first + j] & 0x3f,
            _ => packed[4 + j] >> shift & 0xf | packed[first + j - 4] >> 6 << 4,
        };
        Self {
            d: read_f16(bytes),
            dmin: read_f16(&bytes[2..]),
            scales: std::array::from_fn(|j| number(j, 0, 0)),
            minima: std::array::from_fn(|j| number(j, 4, 4)),
        }
    }

    /// The scales that spell 256 values with quanta from 0 to `most`; they are appended first, as a header.
    pub(super) fn push(values: &[f32], most: f32, out: &mut Vec<u8>) -> Self {
        let mut ideal = [[0f32; 2]; 8];
        for (ideal, values) in ideal.iter_mut().zip(values.chunks_exact(32)) {
            // A minimum is never above zero.
            let smallest = values.iter().copied().fold(0.0, f32::min);
            let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            *ideal = [(largest - smallest) / most, -smallest];
        }
        let [(d, scales), (dmin, minima)] = [0, 1].map(|which| {
            let largest = ideal.iter().fold(0f32, |m, pair| m.max(pair[which]));
            let unit = push_f16(largest / 63.0, out);
            let inverse = inverse(unit);
            let number = |pair: [f32; 2]| (pair[which] * inverse).round().clamp(0.0, 63.0) as u8;
            (unit, ideal.map(number))
        });
        out.extend((0..4).map(|j| scales[j] | scales[j + 4] >> 4 << 6));
        out.extend((0..4).map(|j| minima[j] | minima[j + 4] >> 4 << 6));
        out.extend((4..8).map(|j| scales[j] & 0xf | minima[j] << 4));
        Self {
            d,
            dmin,
            scales,
            minima,
        }
    }

    /// Factor and addend of a sub-block.
    pub(super) fn affine(&self, index: usize) -> (f32, f32) {
        let (scale, minimum) = (self.scales[index], self.minima[index]);
        (self.d * f32::from(scale), -(self.dmin * f32::from(minimum)))
    }

    /// The nearest quanta of 256 values, from 0 to `most`.
    pub(super) fn quanta(&self, values: &[f32], most: f32) -> Vec<u8> {
        let quantum = |(j, value): (usize, &f32)| {
            let (factor, addend) = self.affine(j / 32);
            ((value - addend) * inverse(factor))
                .round()
                .clamp(0.0, most) as u8
        };
        values.iter().enumerate().map(quantum).collect()
    }

    /// The header in `bytes` as the GPU wants it: `d` and `dmin`, then scale and minimum of each sub-block in a byte.
    pub(super) fn split(bytes: &[u8], scales: &mut [u8]) {
        let header = Self::read(bytes);
        scales[..4].copy_from_slice(&bytes[..4]);
        for (index, pair) in scales[4..20].chunks_exact_mut(2).enumerate() {
            pair.copy_from_slice(&[header.scales[index], header.minima[index]]);
        }
    }
}

/// Nibble `j` of sub-block `index`: two sub-blocks share 32 bytes, the first in the low halves.
pub(super) fn nibble(bytes: &[u8], index: usize, j: usize) -> u8 {
    bytes[index / 2 * 32 + j] >> (index % 2 * 4) & 0xf
}

/// Decodes 256 values behind the header, of which `quantum` gives value `j` of sub-block `index`.
pub(super) fn decode(header: &[u8], out: &mut [f32], quantum: impl Fn(usize, usize) -> u8) {
    let header = SubBlocks::read(header);
    for (index, out) in out.chunks_exact_mut(32).enumerate() {
        let (factor, addend) = header.affine(index);
        for (j, out) in out.iter_mut().enumerate() {
            *out = factor * f32::from(quantum(index, j)) + addend;
        }
    }
}
