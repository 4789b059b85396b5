// The tile of `attention_keys_backward` on a GPU: eight positions, 32 tokens at a time. First an invocation owns the weights
// of one position and one token; then, of one position and every other half of the tokens, every sixteenth vec4 of the sums.
// Between them weights pass through workgroup memory, and at the end the halves do.

const LANES: u32 = 256u;
const POSITIONS: u32 = 8u;
const TOKENS: u32 = 32u;
const HALF: u32 = 16u;

var<workgroup> weights: array<vec2<f32>, LANES>; // [POSITIONS, TOKENS], of the queries and of the gradients
var<workgroup> sums: array<array<vec4<f32>, 4>, 128>; // [POSITIONS, HALF]

fn keys_backward(first_position: u32, kv_head: u32, lane: u32) {
    let row = lane / TOKENS;
    let half = lane % TOKENS / HALF;
    let column = lane % HALF;
    let position = min(first_position + row, params.tokens - 1u);
    let kv_first = kv_head * FOURS;
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    let group = HEADS / KV_HEADS;
    // of the fours `column` and `column + HALF`: of the keys, then of the values
    var sum: array<vec4<f32>, 4>;
    for (var head = kv_head * group; head < (kv_head + 1u) * group; head++) {
        for (var first = first_position; first < params.tokens; first += TOKENS) {
            let token = first + lane % TOKENS;
            var weight = vec2<f32>(0.0);
            if (token >= position && token < params.tokens) {
                let own = (token * HEADS + head) * FOURS;
                var score = vec4<f32>(0.0);
                var along = vec4<f32>(0.0);
                for (var i = 0u; i < FOURS; i++) {
                    score += queries[own + i] * kv_read(key_index(position, kv_first + i));
                    along += dy[own + i] * kv_read(value_index(position, kv_first + i));
                }
                let both = rows[token * HEADS + head];
                let p = exp(scale * dot(score, vec4<f32>(1.0)) - both.x);
                weight = vec2<f32>(p * scale * (dot(along, vec4<f32>(1.0)) - both.y), p);
            }
            workgroupBarrier();
            weights[lane] = weight;
            workgroupBarrier();
            for (var j = half * HALF; j < min((half + 1u) * HALF, params.tokens - first); j++) {
                let other = weights[row * TOKENS + j];
                let own = ((first + j) * HEADS + head) * FOURS + column;
                if (column < FOURS) {
                    sum[0] += other.x * queries[own];
                    sum[2] += other.y * dy[own];
                }
                if (column + HALF < FOURS) {
                    sum[1] += other.x * queries[own + HALF];
                    sum[3] += other.y * dy[own + HALF];
                }
            }
        }
    }
    if (half == 1u) {
        sums[row * HALF + column] = sum;
    }
    workgroupBarrier();
    if (half == 0u && first_position + row < params.tokens) {
        let at = position * KV_HEADS * FOURS + kv_first + column;
        let other = sums[row * HALF + column];
        if (column < FOURS) {
            dk[at] = sum[0] + other[0];
            dv[at] = sum[2] + other[2];
        }
        if (column + HALF < FOURS) {
            dk[at + HALF] = sum[1] + other[1];
            dv[at + HALF] = sum[3] + other[3];
        }
    }
}
