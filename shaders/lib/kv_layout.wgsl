// Where a position lies in a KV cache: tiles of 32 positions, [C / 32][keys, values], counted in vec4.
// Keys are transposed within a tile, so that lanes which own neighbouring positions read neighbouring
// words; values are not, so that lanes which own neighbouring dimensions do.

override KEY_ROWS: u32; // K, dimensions of all key heads

// The vec4 of dimensions 4 * four .. 4 * four + 3 of a key.
fn key_index(position: u32, four: u32) -> u32 {
    return (position >> 5u) * 16u * KEY_ROWS + four * 32u + (position & 31u);
}

// The same of a value.
fn value_index(position: u32, four: u32) -> u32 {
    return (position >> 5u) * 16u * KEY_ROWS + 8u * KEY_ROWS + (position & 31u) * (KEY_ROWS / 4u) + four;
}
