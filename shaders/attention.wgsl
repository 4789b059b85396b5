// Causal attention over a prompt: y_t = softmax(q_t K^T / sqrt(D)) V, for keys up to t's own position.
//
//   queries  [tokens, Q]  rotated, f32
//   kv       the cache of this layer, see kv_layout; the tokens' own keys and values are in it
//   y        [tokens, Q]  f32
//
// A workgroup owns LANES tokens of one query head, a lane one token. Keys are taken eight at a time with
// an online softmax (arXiv 1805.02867), so no score is ever stored; sums are f32. `lanes` says how eight
// vectors reach all lanes. Reads up to seven positions past the last token, which weigh nothing but must
// be finite.

struct Params {
    position: u32, // of the first token
    tokens: u32,
}
#import params

@group(0) @binding(0) var<storage, read> queries: array<vec4<f32>>; // [tokens, Q / 4]
#import kv_read
#import kv_layout
@group(0) @binding(20) var<storage, read_write> y: array<vec4<f32>>; // [tokens, Q / 4]
override HEADS: u32;
override KV_HEADS: u32;
override FOURS: u32; // D / 4, at most 32
#import lanes

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = min(workgroup.x * LANES + lane, params.tokens - 1u);
    let head = workgroup.y;
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
    let keys = params.position + min((workgroup.x + 1u) * LANES, params.tokens);
    var most = -1e30;
    var total = 0.0;
    for (var key = 0u; key < keys; key += 8u) {
        var low = vec4<f32>(0.0);
        var high = vec4<f32>(0.0);
        for (var i = 0u; i < FOURS; i++) {
            let k = spread_keys(key, kv_first + i, lane);
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
                let v = spread_values(key + j, kv_first + i, lane);
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
    if (workgroup.x * LANES + lane < params.tokens) {
        for (var i = 0u; i < FOURS; i++) {
            y[own + i] = sum[i] / total;
        }
    }
}
