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
    workgroupBarrier();
    var keys: array<vec4<f32>, 4>; // sums of the keys' gradients
    var sums: array<vec4<f32>, 4>; // and of the values'
    for (var head = kv_head * shared_by; head < (kv_head + 1u) * shared_by; head++) {
        for (var first = first_position; first < params.tokens; first += TAKEN) {
            let token = vec2<u32>(first + column, first + column + WIDTH);
            let row = min(token, vec2<u32>(params.tokens - 1u)) * HEADS + head;
            let a = rows[row.x];
            let b = rows[row.y];
            var score = mat2x4<f32>(vec4<f32>(-a.x), vec4<f32>(-b.x));
            var slope = mat2x4<f32>(vec4<f32>(-a.y), vec4<f32>(-b.y));
            for (var i = 0u; i < FOURS; i++) {
                let j = own + i;
                let at = row * FOURS + i;
                let k = four_staged(j);
                let v = mat4x4<f32>(values[j], values[j + FOURS], values[j + 2u * FOURS], values[j + 3u * FOURS]);
                score += mat2x4<f32>(queries[at.x] * k, queries[at.y] * k);
                slope += mat2x4<f32>(dy[at.x] * v, dy[at.y] * v);
            }
            let p = select(vec4<f32>(0.0), exp(score[0]), vec4<u32>(token.x) >= positions);
            let q = select(vec4<f32>(0.0), exp(score[1]), vec4<u32>(token.y) >= positions);
            workgroupBarrier();
            chances[weight_index(group, column)] = p;
            chances[weight_index(group, column + WIDTH)] = q;
            weights[weight_index(group, column)] = p * slope[0] * scale;
            weights[weight_index(group, column + WIDTH)] = q * slope[1] * scale;
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
