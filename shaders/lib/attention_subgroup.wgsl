// How keys and values reach the lanes of `attention` on software Vulkan: the workgroup is one subgroup of
// 8; each lane loads one of eight vectors and broadcasts it.

const LANES: u32 = 8u;

fn spread(own: vec4<f32>) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        subgroupBroadcast(own, 0u), subgroupBroadcast(own, 1u), subgroupBroadcast(own, 2u), subgroupBroadcast(own, 3u),
        subgroupBroadcast(own, 4u), subgroupBroadcast(own, 5u), subgroupBroadcast(own, 6u), subgroupBroadcast(own, 7u),
    );
}

// One vec4 of the keys of eight positions.
fn spread_keys(position: u32, four: u32, lane: u32) -> array<vec4<f32>, 8> {
    return spread(kv_read(key_index(position + lane, four)));
}

// Eight vec4 of the value of one position.
fn spread_values(position: u32, four: u32, lane: u32) -> array<vec4<f32>, 8> {
    return spread(kv_read(value_index(position, four + lane)));
}
