// The tile of `attention` on a GPU: eight tokens, 32 keys at a time. First an invocation owns the score of one token and one
// key; then, of one token and every other half of the keys, every sixteenth vec4 of the sum. Between them weights pass
// through workgroup memory, and at the end the halves do.

#import attention_score_workgroup

var<workgroup> scores: array<f32, LANES>;  // [TOKENS, KEYS]
var<workgroup> weights: array<f32, LANES>; // [TOKENS, KEYS]
var<workgroup> sums: array<array<vec4<f32>, 2>, LANES>;
var<workgroup> totals: array<f32, LANES>;

fn attend(first_token: u32, head: u32, lane: u32) {
    let row = lane / KEYS;
    let half = lane % KEYS / HALF;
    let column = lane % HALF;
    let token = min(first_token + row, params.tokens - 1u);
    let kv_first = head / (HEADS / KV_HEADS) * FOURS;
    let own = (token * HEADS + head) * FOURS;
    let last = params.position + token;
    let keys = params.position + min(first_token + TOKENS, params.tokens);
    var sum: array<vec4<f32>, 2>; // of the fours `column` and `column + HALF`
    var most = -1e30;
    var total = 0.0;
    for (var first = 0u; first < keys; first += KEYS) {
        let key = first + lane % KEYS;
        var own_score = -1e30;
        if (key <= last) {
            own_score = score(own, key, kv_first);
        }
        scores[lane] = own_score;
        workgroupBarrier();
        var now = most;
        for (var j = 0u; j < KEYS; j++) {
            now = max(now, scores[row * KEYS + j]);
        }
        let shrink = exp(most - now);
        most = now;
        weights[lane] = exp(own_score - now);
        workgroupBarrier();
        total *= shrink;
        sum[0] *= shrink;
        sum[1] *= shrink;
        for (var j = half * HALF; j < min((half + 1u) * HALF, keys - first); j++) {
            let weight = weights[row * KEYS + j];
            total += weight;
            if (column < FOURS) {
                sum[0] += weight * kv_read(value_index(first + j, kv_first + column));
            }
            if (column + HALF < FOURS) {
                sum[1] += weight * kv_read(value_index(first + j, kv_first + column + HALF));
            }
        }
    }
    sums[lane] = sum;
    totals[lane] = total;
    workgroupBarrier();
    if (half == 0u && first_token + row < params.tokens) {
        total += totals[lane + HALF];
        if (column < FOURS) {
            y[own + column] = (sum[0] + sums[lane + HALF][0]) / total;
        }
        if (column + HALF < FOURS) {
            y[own + column + HALF] = (sum[1] + sums[lane + HALF][1]) / total;
        }
    }
}
