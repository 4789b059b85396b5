// How keys and values reach the lanes of `attention` on a GPU: all lanes read the same address, which its
// caches serve at once.

const LANES: u32 = 32u;

// One vec4 of the keys of eight positions.
fn spread_keys(position: u32, four: u32, lane: u32) -> array<vec4<f32>, 8> {
    var k: array<vec4<f32>, 8>;
    for (var j = 0u; j < 8u; j++) {
        k[j] = kv_read(key_index(position + j, four));
    }
    return k;
}

// Eight vec4 of the value of one position.
fn spread_values(position: u32, four: u32, lane: u32) -> array<vec4<f32>, 8> {
    var v: array<vec4<f32>, 8>;
    for (var j = 0u; j < 8u; j++) {
        v[j] = kv_read(value_index(position, four + j));
    }
    return v;
}
