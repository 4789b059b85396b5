// The tile of `attention_backward` on a GPU: eight tokens, 32 keys at a time. First an invocation owns one token and every
// 32nd key, for l; then the weight of one token and one key, and, of one token and every other half of the keys, every
// sixteenth vec4 of the sum. Between those weights pass through workgroup memory, and at the end the halves do.

const LANES: u32 = 256u;
const TOKENS: u32 = 8u;
const KEYS: u32 = 32u;
const HALF: u32 = 16u; // of the keys, whose values are added up apart

var<workgroup> parts: array<vec2<f32>, LANES>; // [TOKENS, KEYS], of l: the largest score, the sum of exponentials
var<workgroup> weights: array<f32, LANES>;     // [TOKENS, KEYS]
var<workgroup> sums: array<array<vec4<f32>, 2>, LANES>;

// q . k / sqrt(D)
fn score(own: u32, key: u32, kv_first: u32) -> f32 {
    var products = vec4<f32>(0.0);
    for (var i = 0u; i < FOURS; i++) {
        products += queries[own + i] * kv_read(key_index(key, kv_first + i));
    }
    return (products.x + products.y + products.z + products.w) / sqrt(f32(FOURS * 4u));
}

fn attend_backward(first_token: u32, head: u32, lane: u32) {
    let row = lane / KEYS;
    let half = lane % KEYS / HALF;
    let column = lane % HALF;
    let token = min(first_token + row, params.tokens - 1u);
    let kv_first = head / (HEADS / KV_HEADS) * FOURS;
    let own = (token * HEADS + head) * FOURS;
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    let keys = min(first_token + TOKENS, params.tokens);
    var delta = 0.0;
    for (var i = 0u; i < FOURS; i++) {
        delta += dot(dy[own + i], y[own + i]);
    }
    var part = vec2<f32>(-1e30, 0.0);
    for (var key = lane % KEYS; key <= token; key += KEYS) {
        let s = score(own, key, kv_first);
        let now = max(part.x, s);
        part = vec2<f32>(now, part.y * exp(part.x - now) + exp(s - now));
    }
    parts[lane] = part;
    workgroupBarrier();
    var most = -1e30;
    for (var j = 0u; j < KEYS; j++) {
        most = max(most, parts[row * KEYS + j].x);
    }
    var total = 0.0;
    for (var j = 0u; j < KEYS; j++) {
        let other = parts[row * KEYS + j];
        total += other.y * exp(other.x - most);
    }
    let l = most + log(total);
    var sum: array<vec4<f32>, 2>; // of the fours `column` and `column + HALF`
    for (var first = 0u; first < keys; first += KEYS) {
        let key = first + lane % KEYS;
        var weight = 0.0;
        if (key <= token) {
            var along = vec4<f32>(0.0);
            for (var i = 0u; i < FOURS; i++) {
                along += dy[own + i] * kv_read(value_index(key, kv_first + i));
            }
            let slope = along.x + along.y + along.z + along.w - delta;
            weight = exp(score(own, key, kv_first) - l) * scale * slope;
        }
        workgroupBarrier();
        weights[lane] = weight;
        workgroupBarrier();
        for (var j = half * HALF; j < min((half + 1u) * HALF, keys - first); j++) {
            let other = weights[row * KEYS + j];
            if (column < FOURS) {
                sum[0] += other * kv_read(key_index(first + j, kv_first + column));
            }
            if (column + HALF < FOURS) {
                sum[1] += other * kv_read(key_index(first + j, kv_first + column + HALF));
            }
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    if (half == 0u && first_token + row < params.tokens) {
        if (column < FOURS) {
            dq[own + column] = sum[0] + sums[lane + HALF][0];
        }
        if (column + HALF < FOURS) {
            dq[own + column + HALF] = sum[1] + sums[lane + HALF][1];
        }
        if (column == 0u) {
            rows[token * HEADS + head] = vec2<f32>(l, delta);
        }
    }
}
