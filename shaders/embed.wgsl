// x[token] = E[ids[token]]: looks token embeddings up.
//
//   ids  [tokens]           token ids
//   E    [V, H]             the embedding, packed in tiles of 32 rows by `weights`
//   x    [tokens, H]        the residual stream, f32
//
// An invocation decodes one block of 32 columns of one token; y goes over tokens. Where the embedding is
// bound in slices, each slice's dispatch writes the tokens it owns.

struct Params {
    blocks: u32,     // H / 32
    first_tile: u32, // of this slice of the embedding
    tiles: u32,      // in this slice
}
#import params

@group(0) @binding(0) var<storage, read> ids: array<u32>;
#import weights
@group(0) @binding(20) var<storage, read_write> x: array<vec4<f32>>; // [tokens, H / 4]
override LANES: u32 = 8u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let block = invocation.x;
    let token = workgroup.y;
    let row = ids[token];
    let tile = row / 32u - params.first_tile;
    if (block >= params.blocks || row / 32u < params.first_tile || tile >= params.tiles) {
        return;
    }
    let weights = load_block((tile * params.blocks + block) * 32u + row % 32u);
    for (var i = 0u; i < 8u; i++) {
        x[(token * params.blocks + block) * 8u + i] = values(weights, i) * weights.scale + weights.offset;
    }
}
