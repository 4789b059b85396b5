// The tile of `attention` on a GPU, in groups. First a lane owns the scores of its keys, then one vec4 of the sums over
// all keys.

#import attention_scores

fn attend(first_token: u32, head: u32, lane: u32) {
    let group = lane / WIDTH;
    let column = lane % WIDTH;
    let kv_first = head / (HEADS / KV_HEADS) * FOURS;
    let four = kv_first + min(column, FOURS - 1u);
    let tokens = vec4<u32>(first_token + group * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let last = vec4<u32>(params.position) + tokens;
    let keys = params.position + min(first_token + TOKENS, params.tokens);
    var sums: array<vec4<f32>, 4>;
    var most = vec4<f32>(-1e30);
    var total = vec4<f32>(0.0);
    stage_queries(first_token, head, lane);
    workgroupBarrier();
    for (var first = 0u; first < keys; first += TAKEN) {
        let key = vec2<u32>(first + column, first + column + WIDTH);
        let both = scores(group, min(key, vec2<u32>(keys - 1u)), kv_first);
        var a = select(vec4<f32>(-1e30), both[0], vec4<u32>(key.x) <= last);
        var b = select(vec4<f32>(-1e30), both[1], vec4<u32>(key.y) <= last);
        let now = max(most, group_max(max(a, b), lane));
        let shrink = exp(most - now);
        most = now;
        a = exp(a - now);
        b = exp(b - now);
        total = total * shrink + a + b;
        weights[weight_index(group, column)] = a;
        weights[weight_index(group, column + WIDTH)] = b;
        workgroupBarrier();
        for (var token = 0u; token < 4u; token++) {
            sums[token] *= shrink[token];
        }
        for (var j = 0u; j < min(TAKEN, keys - first); j++) {
            let weight = weights[weight_index(group, j)];
            let value = kv_read(value_index(first + j, four));
            for (var token = 0u; token < 4u; token++) {
                sums[token] += weight[token] * value;
            }
        }
    }
    total = group_sum(total, lane);
    for (var token = 0u; token < 4u; token++) {
        if (column < FOURS && tokens[token] < params.tokens) {
            y[(tokens[token] * HEADS + head) * FOURS + column] = sums[token] / total[token];
        }
    }
}
