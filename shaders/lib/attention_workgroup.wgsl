// The tile of `attention` on a GPU: groups of WIDTH lanes own four tokens each and take two keys a lane at a time. First a
// lane owns the scores of its keys, then one vec4 of the sums over all keys. The tokens' queries stay in workgroup memory,
// through which the weights pass; neighbouring lanes load neighbouring words of the cache.

const LANES: u32 = 128u;
override WIDTH: u32; // at least FOURS: 16 or 32
override GROUPS: u32 = LANES / WIDTH;
override TOKENS: u32 = 4u * GROUPS;
override KEYS: u32 = 2u * WIDTH;

var<workgroup> staged: array<vec4<f32>, 512>;  // [TOKENS, FOURS]
var<workgroup> weights: array<vec4<f32>, 264>; // [GROUPS, KEYS + 1], of four tokens; groups begin in banks of their own
var<workgroup> shares: array<vec4<f32>, LANES>; // what a lane has to a group's largest score, or to its sum of weights

fn attend(first_token: u32, head: u32, lane: u32) {
    let group = lane / WIDTH;
    let column = lane % WIDTH;
    let kv_first = head / (HEADS / KV_HEADS) * FOURS;
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    for (var i = lane; i < TOKENS * FOURS; i += LANES) {
        let token = min(first_token + i / FOURS, params.tokens - 1u);
        staged[i] = queries[(token * HEADS + head) * FOURS + i % FOURS] * scale;
    }
    workgroupBarrier();
    let own = group * 4u * FOURS;
    let tokens = vec4<u32>(first_token + group * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let last = vec4<u32>(params.position) + tokens;
    let keys = params.position + min(first_token + TOKENS, params.tokens);
    let four = kv_first + min(column, FOURS - 1u);
    var sums: array<vec4<f32>, 4>;
    var most = vec4<f32>(-1e30);
    var total = vec4<f32>(0.0);
    for (var first = 0u; first < keys; first += KEYS) {
        let key = vec2<u32>(first + column, first + column + WIDTH);
        let at = min(key, vec2<u32>(keys - 1u));
        var a = vec4<f32>(0.0);
        var b = vec4<f32>(0.0);
        for (var i = own; i < own + FOURS; i++) {
            let q = mat4x4<f32>(staged[i], staged[i + FOURS], staged[i + 2u * FOURS], staged[i + 3u * FOURS]);
            a += kv_read(key_index(at.x, kv_first + i - own)) * q;
            b += kv_read(key_index(at.y, kv_first + i - own)) * q;
        }
        a = select(vec4<f32>(-1e30), a, vec4<u32>(key.x) <= last);
        b = select(vec4<f32>(-1e30), b, vec4<u32>(key.y) <= last);
        shares[lane] = max(a, b);
        workgroupBarrier();
        var now = most;
        for (var other = 0u; other < WIDTH; other++) {
            now = max(now, shares[group * WIDTH + other]);
        }
        let shrink = exp(most - now);
        most = now;
        a = exp(a - now);
        b = exp(b - now);
        total = total * shrink + a + b;
        weights[group * (KEYS + 1u) + column] = a;
        weights[group * (KEYS + 1u) + column + WIDTH] = b;
        workgroupBarrier();
        for (var token = 0u; token < 4u; token++) {
            sums[token] *= shrink[token];
        }
        for (var j = 0u; j < min(KEYS, keys - first); j++) {
            let weight = weights[group * (KEYS + 1u) + j];
            let value = kv_read(value_index(first + j, four));
            for (var token = 0u; token < 4u; token++) {
                sums[token] += weight[token] * value;
            }
        }
    }
    shares[lane] = total;
    workgroupBarrier();
    total = vec4<f32>(0.0);
    for (var other = 0u; other < WIDTH; other++) {
        total += shares[group * WIDTH + other];
    }
    for (var token = 0u; token < 4u; token++) {
        if (column < FOURS && tokens[token] < params.tokens) {
            y[(tokens[token] * HEADS + head) * FOURS + column] = sums[token] / total[token];
        }
    }
}
