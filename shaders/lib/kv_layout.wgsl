// Where a position lies in a KV cache: tiles of 32 positions, [C / 32][keys, values], counted in vec4.
// Keys are transposed within a tile, so that lanes which own neighbouring positions read neighbouring
// words; values are not, so that lanes which own neighbouring dimensions do.

const KV_TILE: u32 = 32u;
override KEY_ROWS: u32; // K, dimensions of all key heads

// The vec4 of dimensions 4 * four .. 4 * four + 3 of a key.
fn key_index(position: u32, four: u32) -> u32 {
    return (position / KV_TILE) * (KV_TILE / 2u) * KEY_ROWS + four * KV_TILE + position % KV_TILE;
}

// The same of a value.
fn value_index(position: u32, four: u32) -> u32 {
    let values = (2u * (position / KV_TILE) + 1u) * (KV_TILE / 4u) * KEY_ROWS;
    return values + (position % KV_TILE) * (KEY_ROWS / 4u) + four;
}
