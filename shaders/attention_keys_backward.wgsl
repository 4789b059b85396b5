// The gradient of `attention` with respect to keys and values (as in arXiv 2205.14135, section B.4):
//   p_t = exp(q_t . k / sqrt(D) - l_t),  dv = sum_t p_t dy_t,  dk = sum_t p_t (dy_t . v - delta_t) q_t / sqrt(D)
// over the tokens t from the key's own on, and over the query heads that share it.
//
//   queries, dy  [tokens, Q]      f32, the first token at position 0
//   kv           the cache of this layer, see kv_layout
//   rows         [tokens, heads]  l and delta, from attention_backward
//   dk, dv       [tokens, K]      f32
//
// A workgroup owns LANES positions of one key head, a lane one position.

struct Params {
    tokens: u32,
}
#import params

@group(0) @binding(0) var<storage, read> queries: array<vec4<f32>>;
#import kv_read
#import kv_layout
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> rows: array<vec2<f32>>;
@group(0) @binding(20) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(21) var<storage, read_write> dv: array<vec4<f32>>;
override HEADS: u32;
override KV_HEADS: u32;
override FOURS: u32; // D / 4, at most 32; vectors are zero past D
#import spread

const QUERIES: u32 = 0u;
const GRADIENTS: u32 = 1u;

fn load(source: u32, index: u32) -> vec4<f32> {
    if (source == QUERIES) {
        return queries[index];
    }
    return dy[index];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let position = min(workgroup.x * LANES + lane, params.tokens - 1u);
    let kv_first = workgroup.y * FOURS;
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    var k: array<vec4<f32>, 32>;
    var v: array<vec4<f32>, 32>;
    var sum_k: array<vec4<f32>, 32>;
    var sum_v: array<vec4<f32>, 32>;
    for (var i = 0u; i < FOURS; i++) {
        k[i] = kv_read(key_index(position, kv_first + i)) * scale;
        v[i] = kv_read(value_index(position, kv_first + i));
        sum_k[i] = vec4<f32>(0.0);
        sum_v[i] = vec4<f32>(0.0);
    }
    let group = HEADS / KV_HEADS;
    for (var token = workgroup.x * LANES; token < params.tokens; token++) {
        for (var head = workgroup.y * group; head < (workgroup.y + 1u) * group; head++) {
            let first = (token * HEADS + head) * FOURS;
            var score = vec4<f32>(0.0);
            var along = vec4<f32>(0.0);
            for (var i = 0u; i < FOURS; i += 8u) {
                let q = spread(QUERIES, first + i, lane);
                score += q[0] * k[i] + q[1] * k[i + 1u] + q[2] * k[i + 2u] + q[3] * k[i + 3u];
                score += q[4] * k[i + 4u] + q[5] * k[i + 5u] + q[6] * k[i + 6u] + q[7] * k[i + 7u];
                let d = spread(GRADIENTS, first + i, lane);
                along += d[0] * v[i] + d[1] * v[i + 1u] + d[2] * v[i + 2u] + d[3] * v[i + 3u];
                along += d[4] * v[i + 4u] + d[5] * v[i + 5u] + d[6] * v[i + 6u] + d[7] * v[i + 7u];
            }
            let row = rows[token * HEADS + head];
            let p = select(0.0, exp(dot(score, vec4<f32>(1.0)) - row.x), position <= token);
            let ds = p * scale * (dot(along, vec4<f32>(1.0)) - row.y);
            for (var i = 0u; i < FOURS; i += 8u) {
                let q = spread(QUERIES, first + i, lane);
                let d = spread(GRADIENTS, first + i, lane);
                sum_k[i] += ds * q[0];
                sum_k[i + 1u] += ds * q[1];
                sum_k[i + 2u] += ds * q[2];
                sum_k[i + 3u] += ds * q[3];
                sum_k[i + 4u] += ds * q[4];
                sum_k[i + 5u] += ds * q[5];
                sum_k[i + 6u] += ds * q[6];
                sum_k[i + 7u] += ds * q[7];
                sum_v[i] += p * d[0];
                sum_v[i + 1u] += p * d[1];
                sum_v[i + 2u] += p * d[2];
                sum_v[i + 3u] += p * d[3];
                sum_v[i + 4u] += p * d[4];
                sum_v[i + 5u] += p * d[5];
                sum_v[i + 6u] += p * d[6];
                sum_v[i + 7u] += p * d[7];
            }
        }
    }
    if (workgroup.x * LANES + lane < params.tokens) {
        for (var i = 0u; i < FOURS; i++) {
            let at = (position * KV_HEADS + workgroup.y) * FOURS + i;
            dk[at] = sum_k[i];
            dv[at] = sum_v[i];
        }
    }
}
