// Reductions over a workgroup that is one subgroup of 8, as software Vulkan has them.

const LANES: u32 = 8u;

fn reduce_sum(value: vec4<f32>, lane: u32) -> vec4<f32> {
    return subgroupAdd(value);
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    return subgroupMax(value);
}
