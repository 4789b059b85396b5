// Rotary position embedding (arXiv 2104.09864) behind the joint product of queries, keys and values:
// rotates pairs of queries and keys by the position's angles, stores queries, writes keys and values to
// the cache. Row order `pairs`: rows a and b of a tile are neighbours 2i and 2i + 1, the pairs that GGUF
// files of the llama family rotate together.

@group(0) @binding(20) var<storage, read> rotations: array<vec2<f32>>; // [C, D / 2], cos and sin
@group(0) @binding(21) var<uniform> state: vec4<u32>;                  // token, position
@group(0) @binding(22) var<storage, read_write> queries: array<vec2<f32>>; // [tokens, Q / 2]
#import kv_write
#import kv_layout
override QUERY_ROWS: u32; // Q
override HEAD_DIM: u32;   // D

// Which of the matrices that it joins a slot is of.
fn part(slot: u32) -> u32 {
    let row = (slot & ~31u) + 2u * (slot & 15u) + ((slot >> 4u) & 1u);
    return u32(row >= QUERY_ROWS) + u32(row >= QUERY_ROWS + KEY_ROWS);
}

fn finish(token: u32, tile: u32, i: u32, a: f32, b: f32) {
    let row = tile * 32u + 2u * i;
    let position = state.y + params.position + token;
    let turn = rotations[position * (HEAD_DIM / 2u) + (row % HEAD_DIM) / 2u];
    let rotated = vec2<f32>(a * turn.x - b * turn.y, a * turn.y + b * turn.x);
    if (row < QUERY_ROWS) {
        queries[(token * QUERY_ROWS + row) / 2u] = rotated;
    } else if (row < QUERY_ROWS + KEY_ROWS) {
        let dimension = row - QUERY_ROWS;
        kv_write(key_index(position, dimension / 4u) * 2u + (dimension % 4u) / 2u, rotated);
    } else if (row < QUERY_ROWS + 2u * KEY_ROWS) {
        let dimension = row - QUERY_ROWS - KEY_ROWS;
        kv_write(value_index(position, dimension / 4u) * 2u + (dimension % 4u) / 2u, vec2<f32>(a, b));
    }
}
