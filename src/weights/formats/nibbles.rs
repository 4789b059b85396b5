//! Sixteen bytes of nibbles for 32 values, as `q4_0` has them: value `j` in the low half of byte `j`, value `j + 16` in
//! the high half.

/// The nibbles, in the order of the values.
pub(super) fn read(bytes: &[u8]) -> impl Iterator<Item = u8> {
    (0..32).map(|j| bytes[j % 16] >> (j / 16 * 4) & 0xf)
}

/// Bytes with the low four bits of the first half of the numbers in their low halves, and of the second in the high ones.
pub(super) fn pack(numbers: &[u8]) -> impl Iterator<Item = u8> {
    let (low, high) = numbers.split_at(numbers.len() / 2);
    low.iter()
        .zip(high)
        .map(|(low, high)| low & 0xf | high << 4)
}

/// The nearest whole numbers up to `most`.
pub(super) fn quanta(values: &[f32], most: f32, quantum: impl Fn(f32) -> f32) -> Vec<u8> {
    let nearest = |&value| quantum(value).round().clamp(0.0, most) as u8;
    values.iter().map(nearest).collect()
}

/// Sixteen bytes for each 32 values of a block, of which `nibble` gives that of value `j` of the `index`-th 32.
pub(super) fn regroup(nibble: impl Fn(usize, usize) -> u8, quants: &mut [u8]) {
    for (index, block) in quants.chunks_exact_mut(16).enumerate() {
        for (j, byte) in block.iter_mut().enumerate() {
            *byte = nibble(index, j) | nibble(index, j + 16) << 4;
        }
    }
}
