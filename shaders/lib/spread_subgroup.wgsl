// How eight neighbouring vec4 reach all lanes on software Vulkan: the workgroup is one subgroup of 8; each lane loads
// one and broadcasts it. The importer declares `load(source, index)`.

const LANES: u32 = 8u;

fn spread(source: u32, first: u32, lane: u32) -> array<vec4<f32>, 8> {
    let own = load(source, first + lane);
    return array<vec4<f32>, 8>(
        subgroupBroadcast(own, 0u), subgroupBroadcast(own, 1u), subgroupBroadcast(own, 2u), subgroupBroadcast(own, 3u),
        subgroupBroadcast(own, 4u), subgroupBroadcast(own, 5u), subgroupBroadcast(own, 6u), subgroupBroadcast(own, 7u),
    );
}
