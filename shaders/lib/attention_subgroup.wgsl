// The tile of `attention` on software Vulkan: the workgroup is one subgroup of 8, and a lane owns one token. Of eight
// keys, or eight parts of a value, each lane loads one and broadcasts it.

#import spread_subgroup

const TOKENS: u32 = 8u;

fn load(source: u32, index: u32) -> vec4<f32> {
    return kv_read(index);
}

fn attend(first_token: u32, head: u32, lane: u32) {
    let token = min(first_token + lane, params.tokens - 1u);
    let kv_first = head / (HEADS / KV_HEADS) * FOURS;
    let own = (token * HEADS + head) * FOURS;
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    var q: array<vec4<f32>, 32>;
    var sum: array<vec4<f32>, 32>;
    for (var i = 0u; i < FOURS; i++) {
        q[i] = queries[own + i] * scale;
        sum[i] = vec4<f32>(0.0);
    }
    let last = params.position + token;
    let keys = params.position + min(first_token + LANES, params.tokens);
    var most = -1e30;
    var total = 0.0;
    for (var key = 0u; key < keys; key += 8u) {
        var low = vec4<f32>(0.0);
        var high = vec4<f32>(0.0);
        for (var i = 0u; i < FOURS; i++) {
            let k = spread(0u, key_index(key, kv_first + i), lane);
            low += vec4<f32>(dot(q[i], k[0]), dot(q[i], k[1]), dot(q[i], k[2]), dot(q[i], k[3]));
            high += vec4<f32>(dot(q[i], k[4]), dot(q[i], k[5]), dot(q[i], k[6]), dot(q[i], k[7]));
        }
        let index = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u);
        low = select(vec4<f32>(-1e30), low, index <= vec4<u32>(last));
        high = select(vec4<f32>(-1e30), high, index + vec4<u32>(4u) <= vec4<u32>(last));
        let both = max(low, high);
        let now = max(most, max(max(both.x, both.y), max(both.z, both.w)));
        let shrink = exp(most - now);
        most = now;
        low = exp(low - vec4<f32>(now));
        high = exp(high - vec4<f32>(now));
        let eight = low + high;
        total = total * shrink + eight.x + eight.y + eight.z + eight.w;
        let p = array<f32, 8>(low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w);
        for (var i = 0u; i < FOURS; i++) {
            sum[i] *= shrink;
        }
        for (var j = 0u; j < 8u; j++) {
            for (var i = 0u; i < FOURS; i += 8u) {
                let v = spread(0u, value_index(key + j, kv_first + i), lane);
                sum[i] = fma(v[0], vec4<f32>(p[j]), sum[i]);
                sum[i + 1u] = fma(v[1], vec4<f32>(p[j]), sum[i + 1u]);
                sum[i + 2u] = fma(v[2], vec4<f32>(p[j]), sum[i + 2u]);
                sum[i + 3u] = fma(v[3], vec4<f32>(p[j]), sum[i + 3u]);
                sum[i + 4u] = fma(v[4], vec4<f32>(p[j]), sum[i + 4u]);
                sum[i + 5u] = fma(v[5], vec4<f32>(p[j]), sum[i + 5u]);
                sum[i + 6u] = fma(v[6], vec4<f32>(p[j]), sum[i + 6u]);
                sum[i + 7u] = fma(v[7], vec4<f32>(p[j]), sum[i + 7u]);
            }
        }
    }
    if (first_token + lane < params.tokens) {
        for (var i = 0u; i < FOURS; i++) {
            y[own + i] = sum[i] / total;
        }
    }
}
