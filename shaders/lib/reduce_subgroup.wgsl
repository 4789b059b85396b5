// Reductions over a workgroup that is one subgroup of 8, as software Vulkan has them.

const LANES: u32 = 8u;

fn reduce_sum(value: vec4<f32>, lane: u32) -> vec4<f32> {
    return subgroupAdd(value);
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    return subgroupMax(value);
}

// The sum over the lanes before this one, added up in the order of the lanes.
fn exclusive_sum(value: f32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var other = 0u; other < LANES; other++) {
        sum += select(0.0, subgroupShuffle(value, other), other < lane);
    }
    return sum;
}
