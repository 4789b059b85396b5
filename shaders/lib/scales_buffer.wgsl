// Scales of blocks, and what else is not among their quants, in a buffer, 4 bytes at a time: see the format's file for
// their order.
@group(0) @binding(11) var<storage, read> scales: array<u32>;

fn scale_word(index: u32) -> u32 {
    return scales[index];
}
