// `attention_decode` on software Vulkan: the workgroup is one subgroup of 8. Eight positions at a time;
// their weights are broadcast while each lane sums its share of the dimensions.

const LANES: u32 = 8u;

fn add_value(sum: ptr<function, array<vec4<f32>, 4>>, weight: f32, position: u32, first: u32, lane: u32) {
    for (var i = 0u; i < FOURS; i += LANES) {
        (*sum)[i / LANES] = fma(kv_read(value_index(position, first + i + lane)), vec4<f32>(weight), (*sum)[i / LANES]);
    }
}

fn attend(own: u32, kv_first: u32, keys: u32, lane: u32) {
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    var q: array<vec4<f32>, 32>;
    for (var i = 0u; i < FOURS; i++) {
        q[i] = queries[own + i] * scale;
    }
    var sum: array<vec4<f32>, 4>; // dimensions 4 * (lane + 8 i)
    var most = -1e30;
    var total = 0.0;
    for (var key = 0u; key < keys; key += LANES) {
        var score = 0.0;
        for (var i = 0u; i < FOURS; i++) {
            score += dot(q[i], kv_read(key_index(key + lane, kv_first + i)));
        }
        score = select(-1e30, score, key + lane < keys);
        let now = max(most, subgroupMax(score));
        let shrink = exp(most - now);
        most = now;
        let weight = exp(score - now);
        total = total * shrink + weight;
        for (var i = 0u; i < 4u; i++) {
            sum[i] *= shrink;
        }
        add_value(&sum, subgroupBroadcast(weight, 0u), key, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weight, 1u), key + 1u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weight, 2u), key + 2u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weight, 3u), key + 3u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weight, 4u), key + 4u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weight, 5u), key + 5u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weight, 6u), key + 6u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weight, 7u), key + 7u, kv_first, lane);
    }
    total = subgroupAdd(total);
    for (var i = lane; i < FOURS; i += LANES) {
        y[own + i] = sum[i / LANES] / total;
    }
}
