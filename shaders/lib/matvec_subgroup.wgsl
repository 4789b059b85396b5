// Lanes of a matvec on software Vulkan: the workgroup is one subgroup of 8, a lane owns four rows. Each
// lane loads an eighth of a block of the vector and broadcasts it, which is far cheaper there than eight
// loads of the same address; there is no workgroup memory and no barrier.

const LANES: u32 = 8u;
const SLOTS: u32 = 4u;
const SLICES: u32 = 1u;

// The prologue's view of x[first..first + 8]; adds the squares of this lane's share of x.
fn spread(first: u32, lane: u32, squares: ptr<function, f32>) -> array<vec4<f32>, 8> {
    let raw = x[first + lane];
    *squares += dot(raw, raw);
    let own = prologue(raw, first + lane);
    return array<vec4<f32>, 8>(
        subgroupBroadcast(own, 0u), subgroupBroadcast(own, 1u), subgroupBroadcast(own, 2u), subgroupBroadcast(own, 3u),
        subgroupBroadcast(own, 4u), subgroupBroadcast(own, 5u), subgroupBroadcast(own, 6u), subgroupBroadcast(own, 7u),
    );
}

// Makes sums and squares whole; true on invocations that finish rows.
fn combine(sums: ptr<function, array<f32, SLOTS>>, squares: ptr<function, f32>, local: vec3<u32>) -> bool {
    *squares = subgroupAdd(*squares);
    return true;
}
