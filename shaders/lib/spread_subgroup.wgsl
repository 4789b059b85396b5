// How eight neighbouring vec4 reach all lanes on software Vulkan: the workgroup is one subgroup of 8; each lane loads
// one and broadcasts it. The importer declares `load(source, index)`.

#import broadcast_subgroup

const LANES: u32 = 8u;

fn spread(source: u32, first: u32, lane: u32) -> array<vec4<f32>, 8> {
    return broadcast(load(source, first + lane));
}
