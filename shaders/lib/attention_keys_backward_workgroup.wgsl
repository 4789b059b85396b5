// The tile of `attention_keys_backward` on a GPU, in groups. First a lane owns the weights of its tokens, then one vec4 of
// the sums over all tokens.

#import attention_groups

override POSITIONS: u32 = OWNED; // their keys are staged

var<workgroup> values: array<vec4<f32>, 256>; // [POSITIONS, FOURS]
var<workgroup> chances: array<vec4<f32>, 132>; // p, where `weights` are those of the queries

fn keys_backward(first_position: u32, kv_head: u32, lane: u32) {
    let group = lane / WIDTH;
    let column = lane % WIDTH;
    let own = group * 4u * FOURS;
    let kv_first = kv_head * FOURS;
    let four = min(column, FOURS - 1u);
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    let shared_by = HEADS / KV_HEADS;
    let positions = vec4<u32>(first_position + group * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    for (var i = lane; i < POSITIONS * FOURS; i += LANES) {
        let position = min(first_position + i / FOURS, params.tokens - 1u);
        staged[i] = kv_read(key_index(position, kv_first + i % FOURS)) * scale;
        values[i] = kv_read(value_index(position, kv_first + i % FOURS));
    }
    var keys: array<vec4<f32>, 4>;  // sums of the keys' gradients
    var sums: array<vec4<f32>, 4>; // and of the values'
    for (var head = kv_head * shared_by; head < (kv_head + 1u) * shared_by; head++) {
        for (var first = first_position; first < params.tokens; first += TAKEN) {
            workgroupBarrier();
            for (var half = 0u; half < 2u; half++) {
                let token = first + column + half * WIDTH;
                let row = min(token, params.tokens - 1u) * HEADS + head;
                var score = vec4<f32>(-rows[row].x);
                var slope = vec4<f32>(-rows[row].y);
                for (var i = 0u; i < FOURS; i++) {
                    let j = own + i;
                    score += queries[row * FOURS + i] * four_staged(j);
                    slope += dy[row * FOURS + i] * mat4x4<f32>(values[j], values[j + FOURS], values[j + 2u * FOURS], values[j + 3u * FOURS]);
                }
                let p = select(vec4<f32>(0.0), exp(score), vec4<u32>(token) >= positions);
                weights[weight_index(group, column + half * WIDTH)] = p * slope * scale;
                chances[weight_index(group, column + half * WIDTH)] = p;
            }
            workgroupBarrier();
            for (var j = 0u; j < min(TAKEN, params.tokens - first); j++) {
                let weight = weights[weight_index(group, j)];
                let chance = chances[weight_index(group, j)];
                let at = ((first + j) * HEADS + head) * FOURS + four;
                for (var position = 0u; position < 4u; position++) {
                    keys[position] += weight[position] * queries[at];
                    sums[position] += chance[position] * dy[at];
                }
            }
        }
    }
    for (var position = 0u; position < 4u; position++) {
        if (column < FOURS && positions[position] < params.tokens) {
            let at = (positions[position] * KV_HEADS + kv_head) * FOURS + column;
            dk[at] = keys[position];
            dv[at] = sums[position];
        }
    }
}
