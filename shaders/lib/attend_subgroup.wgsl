// `attention_decode` on software Vulkan: the workgroup is one subgroup of 8 and owns the SHARED query heads
// of a group, so that a key or value is loaded once for all of them. Eight positions at a time; their
// weights are broadcast while each lane sums its share of the dimensions.

const LANES: u32 = 8u;

fn add_value(sum: ptr<function, array<vec4<f32>, 16>>, weights: vec4<f32>, position: u32, first: u32, lane: u32) {
    for (var i = 0u; i < FOURS; i += LANES) {
        let value = kv_read(value_index(position, first + i + lane));
        for (var head = 0u; head < SHARED; head++) {
            let at = head * 4u + i / LANES;
            (*sum)[at] = fma(value, vec4<f32>(weights[head]), (*sum)[at]);
        }
    }
}

fn attend(own: u32, kv_first: u32, first: u32, end: u32, lane: u32) {
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    var q: array<vec4<f32>, 128>; // SHARED heads of up to 32
    for (var i = 0u; i < SHARED * FOURS; i++) {
        q[i] = queries[own + i] * scale;
    }
    var sum: array<vec4<f32>, 16>; // of each head, dimensions 4 * (lane + 8 i)
    var most = vec4<f32>(-1e30); // one component a head, here and below
    var total = vec4<f32>(0.0);
    for (var key = first; key < end; key += LANES) {
        var score = vec4<f32>(0.0);
        for (var i = 0u; i < FOURS; i++) {
            let four = kv_read(key_index(key + lane, kv_first + i));
            for (var head = 0u; head < SHARED; head++) {
                score[head] += dot(q[head * FOURS + i], four);
            }
        }
        score = select(vec4<f32>(-1e30), score, key + lane < end);
        let now = max(most, subgroupMax(score));
        let shrink = exp(most - now);
        most = now;
        let weights = exp(score - now);
        total = total * shrink + weights;
        for (var i = 0u; i < 4u * SHARED; i++) {
            sum[i] *= shrink[i / 4u];
        }
        add_value(&sum, subgroupBroadcast(weights, 0u), key, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weights, 1u), key + 1u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weights, 2u), key + 2u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weights, 3u), key + 3u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weights, 4u), key + 4u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weights, 5u), key + 5u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weights, 6u), key + 6u, kv_first, lane);
        add_value(&sum, subgroupBroadcast(weights, 7u), key + 7u, kv_first, lane);
    }
    total = subgroupAdd(total);
    for (var i = lane; i < FOURS; i += LANES) {
        for (var head = 0u; head < SHARED; head++) {
            finish(own + head * FOURS + i, sum[head * 4u + i / LANES], most[head], total[head]);
        }
    }
}
