// The tile of `attention_backward` on software Vulkan: the workgroup is one subgroup of 8, and a lane owns one token.

#import spread_subgroup

const TOKENS: u32 = 8u;

fn load(source: u32, index: u32) -> vec4<f32> {
    return kv_read(index);
}

// Dot products of one vector with the keys of eight positions; past `last` they are far below any other.
fn scores(q: ptr<function, array<vec4<f32>, 32>>, key: u32, first: u32, last: u32, lane: u32) -> array<vec4<f32>, 2> {
    var low = vec4<f32>(0.0);
    var high = vec4<f32>(0.0);
    for (var i = 0u; i < FOURS; i++) {
        let k = spread(0u, key_index(key, first + i), lane);
        let own = (*q)[i];
        low += vec4<f32>(dot(own, k[0]), dot(own, k[1]), dot(own, k[2]), dot(own, k[3]));
        high += vec4<f32>(dot(own, k[4]), dot(own, k[5]), dot(own, k[6]), dot(own, k[7]));
    }
    let index = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u);
    return array<vec4<f32>, 2>(
        select(vec4<f32>(-1e30), low, index <= vec4<u32>(last)),
        select(vec4<f32>(-1e30), high, index + vec4<u32>(4u) <= vec4<u32>(last)),
    );
}

fn attend_backward(first_token: u32, head: u32, lane: u32) {
    let token = min(first_token + lane, params.tokens - 1u);
    let kv_first = head / (HEADS / KV_HEADS) * FOURS;
    let own = (token * HEADS + head) * FOURS;
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    var q: array<vec4<f32>, 32>;
    var d: array<vec4<f32>, 32>;
    var sum: array<vec4<f32>, 32>;
    var delta = 0.0;
    for (var i = 0u; i < FOURS; i++) {
        q[i] = queries[own + i] * scale;
        d[i] = dy[own + i];
        sum[i] = vec4<f32>(0.0);
        delta += dot(d[i], y[own + i]);
    }
    let keys = min(first_token + LANES, params.tokens);
    var most = -1e30;
    var total = 0.0;
    for (var key = 0u; key < keys; key += 8u) {
        let s = scores(&q, key, kv_first, token, lane);
        let both = max(s[0], s[1]);
        let now = max(most, max(max(both.x, both.y), max(both.z, both.w)));
        let eight = exp(s[0] - vec4<f32>(now)) + exp(s[1] - vec4<f32>(now));
        total = total * exp(most - now) + eight.x + eight.y + eight.z + eight.w;
        most = now;
    }
    let l = most + log(total);
    for (var key = 0u; key < keys; key += 8u) {
        let s = scores(&q, key, kv_first, token, lane);
        let low = exp(s[0] - vec4<f32>(l)) * scale;
        let high = exp(s[1] - vec4<f32>(l)) * scale;
        var p = array<f32, 8>(low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w);
        for (var j = 0u; j < 8u; j++) {
            var along = vec4<f32>(0.0);
            for (var i = 0u; i < FOURS; i += 8u) {
                let v = spread(0u, value_index(key + j, kv_first + i), lane);
                along += d[i] * v[0] + d[i + 1u] * v[1] + d[i + 2u] * v[2] + d[i + 3u] * v[3];
                along += d[i + 4u] * v[4] + d[i + 5u] * v[5] + d[i + 6u] * v[6] + d[i + 7u] * v[7];
            }
            p[j] *= along.x + along.y + along.z + along.w - delta;
        }
        for (var i = 0u; i < FOURS; i++) {
            let k = spread(0u, key_index(key, kv_first + i), lane);
            sum[i] += p[0] * k[0] + p[1] * k[1] + p[2] * k[2] + p[3] * k[3];
            sum[i] += p[4] * k[4] + p[5] * k[5] + p[6] * k[6] + p[7] * k[7];
        }
    }
    if (first_token + lane < params.tokens) {
        for (var i = 0u; i < FOURS; i++) {
            dq[own + i] = sum[i];
        }
        rows[token * HEADS + head] = vec2<f32>(l, delta);
    }
}
