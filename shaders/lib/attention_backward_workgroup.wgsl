// The tile of `attention_backward` on a GPU, in groups. First a lane goes through its keys for l; then it owns the weights of
// its keys, and one vec4 of the sums over all keys.

#import attention_scores

var<workgroup> slopes: array<vec4<f32>, 256>; // [TOKENS, FOURS] of dy

fn attend_backward(first_token: u32, head: u32, lane: u32) {
    let group = lane / WIDTH;
    let column = lane % WIDTH;
    let own = group * 4u * FOURS;
    let kv_first = head / (HEADS / KV_HEADS) * FOURS;
    let four = kv_first + min(column, FOURS - 1u);
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    let tokens = vec4<u32>(first_token + group * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let at = (min(tokens, vec4<u32>(params.tokens - 1u)) * HEADS + head) * FOURS + column;
    let keys = min(first_token + TOKENS, params.tokens);
    stage_queries(first_token, head, lane);
    var along = vec4<f32>(0.0);
    for (var token = 0u; token < 4u; token++) {
        if (column < FOURS) {
            slopes[own + token * FOURS + column] = dy[at[token]];
            along[token] = dot(dy[at[token]], y[at[token]]);
        }
    }
    let delta = group_sum(along, lane);
    var most = vec4<f32>(-1e30);
    var total = vec4<f32>(0.0);
    for (var first = 0u; first < keys; first += TAKEN) {
        let key = vec2<u32>(first + column, first + column + WIDTH);
        let both = scores(group, min(key, vec2<u32>(keys - 1u)), kv_first);
        let a = select(vec4<f32>(-1e30), both[0], vec4<u32>(key.x) <= tokens);
        let b = select(vec4<f32>(-1e30), both[1], vec4<u32>(key.y) <= tokens);
        let now = max(most, max(a, b));
        total = total * exp(most - now) + exp(a - now) + exp(b - now);
        most = now;
    }
    workgroupBarrier();
    let largest = group_max(most, lane);
    workgroupBarrier();
    let l = largest + log(group_sum(total * exp(most - largest), lane));
    var sums: array<vec4<f32>, 4>;
    for (var first = 0u; first < keys; first += TAKEN) {
        let key = vec2<u32>(first + column, first + column + WIDTH);
        let read = min(key, vec2<u32>(keys - 1u));
        let both = scores(group, read, kv_first);
        var slope = mat2x4<f32>(-delta, -delta);
        for (var i = 0u; i < FOURS; i++) {
            let j = own + i;
            let g = mat4x4<f32>(slopes[j], slopes[j + FOURS], slopes[j + 2u * FOURS], slopes[j + 3u * FOURS]);
            slope += mat2x4<f32>(kv_read(value_index(read.x, kv_first + i)) * g, kv_read(value_index(read.y, kv_first + i)) * g);
        }
        let a = exp(both[0] - l) * slope[0] * scale;
        let b = exp(both[1] - l) * slope[1] * scale;
        workgroupBarrier();
        weights[weight_index(group, column)] = select(vec4<f32>(0.0), a, vec4<u32>(key.x) <= tokens);
        weights[weight_index(group, column + WIDTH)] = select(vec4<f32>(0.0), b, vec4<u32>(key.y) <= tokens);
        workgroupBarrier();
        for (var j = 0u; j < min(TAKEN, keys - first); j++) {
            let weight = weights[weight_index(group, j)];
            let value = kv_read(key_index(first + j, four));
            for (var token = 0u; token < 4u; token++) {
                sums[token] += weight[token] * value;
            }
        }
    }
    for (var token = 0u; token < 4u; token++) {
        if (column < FOURS && tokens[token] < params.tokens) {
            dq[at[token]] = sums[token];
            if (column == 0u) {
                rows[tokens[token] * HEADS + head] = vec2<f32>(l[token], delta[token]);
            }
        }
    }
}
