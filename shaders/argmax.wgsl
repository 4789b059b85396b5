// token = arg max of the logits, the lowest id among equals; then position + 1.
//
//   logits  [V]  f32
//   state   token, position: what the next token's dispatches read
//
// One workgroup, so that choosing a token is one dispatch.

struct Params {
    vocab: u32,
}
#import params

@group(0) @binding(0) var<storage, read> logits: array<vec4<f32>>; // [V / 4], what is past V is passed over
@group(0) @binding(20) var<storage, read_write> state: array<u32>; // token, position, 0, 0
#import reduce

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var best = logits[0].x;
    var id = 0u;
    for (var i = lane; i < (params.vocab + 3u) / 4u; i += LANES) {
        let four = logits[i];
        for (var j = 0u; j < 4u; j++) {
            if (four[j] > best && 4u * i + j < params.vocab) {
                best = four[j];
                id = 4u * i + j;
            }
        }
    }
    let most = reduce_max(best, lane);
    // ids are below 2^24, so they are exact in f32
    let lowest = -reduce_max(select(-1e9, -f32(id), best == most), lane);
    if (lane == 0u) {
        state[0] = u32(lowest);
        state[1] += 1u;
    }
}
