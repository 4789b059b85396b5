// Quantised values in a buffer, 16 bytes at a time: see the format's file for their order.
@group(0) @binding(10) var<storage, read> quants: array<vec4<u32>>;

fn quant(index: u32) -> vec4<u32> {
    return quants[index];
}
