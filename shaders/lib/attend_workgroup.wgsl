// `attention_decode` on a GPU: 128 positions at a time; their weights pass through workgroup memory, then
// groups of FOURS lanes sum every SLICESth position's value. SHARED is 1: more workgroups are worth more
// than keys read once.

#import reduce_workgroup

var<workgroup> query: array<vec4<f32>, 32>;
var<workgroup> weights: array<f32, LANES>;
var<workgroup> sums: array<vec4<f32>, LANES>;

fn attend(own: u32, kv_first: u32, first: u32, end: u32, lane: u32) {
    if (lane < FOURS) {
        query[lane] = queries[own + lane] * (1.0 / sqrt(f32(FOURS * 4u)));
    }
    workgroupBarrier();
    let slices = LANES / FOURS;
    let slice = lane / FOURS;
    let four = lane % FOURS;
    var sum = vec4<f32>(0.0);
    var most = -1e30;
    var total = 0.0;
    for (var key = first; key < end; key += LANES) {
        var score = -1e30;
        if (key + lane < end) {
            score = 0.0;
            for (var i = 0u; i < FOURS; i++) {
                score += dot(query[i], kv_read(key_index(key + lane, kv_first + i)));
            }
        }
        let now = max(most, reduce_max(score, lane));
        let shrink = exp(most - now);
        most = now;
        let weight = exp(score - now);
        total = total * shrink + weight;
        weights[lane] = weight;
        workgroupBarrier();
        sum *= shrink;
        if (slice < slices) {
            for (var j = slice; j < min(LANES, end - key); j += slices) {
                sum += weights[j] * kv_read(value_index(key + j, kv_first + four));
            }
        }
        workgroupBarrier();
    }
    sums[lane] = sum;
    let whole = reduce_sum(vec4<f32>(total), lane).x;
    if (lane < FOURS) {
        for (var other = 1u; other < slices; other++) {
            sum += sums[other * FOURS + lane];
        }
        finish(own + lane, sum, most, whole);
    }
}
