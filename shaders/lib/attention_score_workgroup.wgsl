// What the tiles of `attention` and of its gradient share on a GPU: eight tokens, 32 keys at a time, whose scores an
// invocation each computes. The importer declares `queries`, `kv_read` and `FOURS`.

const LANES: u32 = 256u;
const TOKENS: u32 = 8u;
const KEYS: u32 = 32u;
const HALF: u32 = 16u; // of the keys, whose values are added up apart

// q . k / sqrt(D)
fn score(own: u32, key: u32, kv_first: u32) -> f32 {
    var products = vec4<f32>(0.0);
    for (var i = 0u; i < FOURS; i++) {
        products += queries[own + i] * kv_read(key_index(key, kv_first + i));
    }
    return (products.x + products.y + products.z + products.w) / sqrt(f32(FOURS * 4u));
}
