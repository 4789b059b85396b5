// The tile of `attention_keys_backward` on software Vulkan: the workgroup is one subgroup of 8, and a lane owns one position.

#import spread_subgroup

const POSITIONS: u32 = 8u;

const QUERIES: u32 = 0u;
const GRADIENTS: u32 = 1u;

fn load(source: u32, index: u32) -> vec4<f32> {
    if (source == QUERIES) {
        return queries[index];
    }
    return dy[index];
}

fn keys_backward(first_position: u32, kv_head: u32, lane: u32) {
    let position = min(first_position + lane, params.tokens - 1u);
    let kv_first = kv_head * FOURS;
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
    for (var token = first_position; token < params.tokens; token++) {
        for (var head = kv_head * group; head < (kv_head + 1u) * group; head++) {
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
    if (first_position + lane < params.tokens) {
        for (var i = 0u; i < FOURS; i++) {
            let at = (position * KV_HEADS + kv_head) * FOURS + i;
            dk[at] = sum_k[i];
            dv[at] = sum_v[i];
        }
    }
}
