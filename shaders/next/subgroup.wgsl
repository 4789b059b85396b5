// The way down to the adapted product that takes the vector which is being made, on software Vulkan, where a workgroup
// is one subgroup: each workgroup leaves its share of h = A y, the sum over the SHARE_ROWS rows that it has made, behind
// the vector. The importer calls `next_add` for each row and then `next_finish`, and declares `next_keep(index, value)`.

// A [rows, NEXT_FOURS], with alpha / r and a norm's gamma in it
#import lora_a
override NEXT_FOURS: u32; // at most 16
override SHARE_ROWS: u32;

var<private> next_sums: array<vec4<f32>, 16>; // of this lane's rows

fn next_add(row: u32, value: f32) {
    for (var four = 0u; four < NEXT_FOURS; four++) {
        next_sums[four] += value * lora_a(row * NEXT_FOURS + four);
    }
}

fn next_finish(share: u32, invocation: u32, invocations: u32) {
    for (var four = 0u; four < NEXT_FOURS; four++) {
        let own = next_sums[four];
        // Eight broadcasts take half the time of an addition over the subgroup.
        let sum = subgroupBroadcast(own, 0u) + subgroupBroadcast(own, 1u) + subgroupBroadcast(own, 2u)
            + subgroupBroadcast(own, 3u) + subgroupBroadcast(own, 4u) + subgroupBroadcast(own, 5u)
            + subgroupBroadcast(own, 6u) + subgroupBroadcast(own, 7u);
        if (invocation < 4u) {
            next_keep(4u * (share * NEXT_FOURS + four) + invocation, sum[invocation]);
        }
    }
}
