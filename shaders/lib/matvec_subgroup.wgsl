// Lanes of a matvec on software Vulkan: the workgroup is one subgroup of 8, a lane owns four rows. Each
// lane loads an eighth of a block of the vector and broadcasts it; there is no workgroup memory and no barrier.

#import broadcast_subgroup

const LANES: u32 = 8u;
const SLOTS: u32 = 4u;
const SLICES: u32 = 1u;

// The prologue's view of x[first..first + 8]; adds the squares of this lane's share of x.
fn spread(first: u32, lane: u32, squares: ptr<function, f32>) -> array<vec4<f32>, 8> {
    let raw = x[first + lane];
    *squares += dot(raw, raw);
    return broadcast(prologue(raw, first + lane));
}

// Makes sums and squares whole; true on invocations that finish rows.
fn combine(sums: ptr<function, array<f32, SLOTS>>, squares: ptr<function, f32>, local: vec3<u32>) -> bool {
    *squares = subgroupAdd(*squares);
    return true;
}
