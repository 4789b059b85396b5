// Lanes of a matvec on a GPU: 16 lanes own two rows each and read consecutive blocks, so loads of
// weights are coalesced; SLICES such groups share out the columns and add up in workgroup memory.

const LANES: u32 = 16u;
const SLOTS: u32 = 2u;
override SLICES: u32;

var<workgroup> partial: array<vec3<f32>, LANES * SLICES>;

// The prologue's view of x[first..first + 8]; adds the squares of this lane's share of x, where they are asked for.
fn spread(first: u32, lane: u32, squares: ptr<function, f32>) -> array<vec4<f32>, 8> {
    var xs: array<vec4<f32>, 8>;
    for (var i = 0u; i < 8u; i++) {
        xs[i] = prologue(x[first + i], first + i);
    }
    if (NORMED && lane < 8u) {
        let own = x[first + lane];
        *squares += dot(own, own);
    }
    return xs;
}

// Makes sums and squares whole; true on invocations that finish rows.
fn combine(sums: ptr<function, array<f32, SLOTS>>, squares: ptr<function, f32>, local: vec3<u32>) -> bool {
    partial[local.y * LANES + local.x] = vec3<f32>((*sums)[0], (*sums)[1], *squares);
    workgroupBarrier();
    if (local.y > 0u) {
        return false;
    }
    var whole = vec3<f32>(0.0);
    var all_squares = 0.0;
    for (var slice = 0u; slice < SLICES; slice++) {
        whole += partial[slice * LANES + local.x];
        if (NORMED) {
            for (var lane = 0u; lane < 8u; lane++) {
                all_squares += partial[slice * LANES + lane].z;
            }
        }
    }
    (*sums)[0] = whole.x;
    (*sums)[1] = whole.y;
    *squares = all_squares;
    return true;
}
