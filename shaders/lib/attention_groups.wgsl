// What the tiles of `attention` and of its gradients share on a GPU. Groups of WIDTH lanes own four tokens each (of the
// gradient of the keys, four positions) and take two keys a lane at a time (two tokens). What is owned stays in workgroup
// memory, where a lane reads four vectors for every two that it loads, and through which weights pass. The importer
// declares `FOURS`.

const LANES: u32 = 64u;
override WIDTH: u32; // at least FOURS: 16 or 32
override GROUPS: u32 = LANES / WIDTH;
override OWNED: u32 = 4u * GROUPS;
override TAKEN: u32 = 2u * WIDTH;

var<workgroup> staged: array<vec4<f32>, 256>;   // [OWNED, FOURS]
var<workgroup> weights: array<vec4<f32>, 132>;  // [GROUPS, TAKEN + 1], of four owned; groups begin in banks of their own
var<workgroup> shares: array<vec4<f32>, LANES>; // [GROUPS, WIDTH]

fn weight_index(group: u32, taken: u32) -> u32 {
    return group * (TAKEN + 1u) + taken;
}

// Four owned vectors' part from `i` on: `x * four_staged(i)` are the products of x with each.
fn four_staged(i: u32) -> mat4x4<f32> {
    return mat4x4<f32>(staged[i], staged[i + FOURS], staged[i + 2u * FOURS], staged[i + 3u * FOURS]);
}

// The sum over the lanes of a group. Between two calls of this and `group_max` there must be a barrier.
fn group_sum(share: vec4<f32>, lane: u32) -> vec4<f32> {
    shares[lane] = share;
    workgroupBarrier();
    var sum = vec4<f32>(0.0);
    for (var i = lane / WIDTH * WIDTH; i < (lane / WIDTH + 1u) * WIDTH; i++) {
        sum += shares[i];
    }
    return sum;
}

// The same of the largest.
fn group_max(share: vec4<f32>, lane: u32) -> vec4<f32> {
    shares[lane] = share;
    workgroupBarrier();
    var most = share;
    for (var i = lane / WIDTH * WIDTH; i < (lane / WIDTH + 1u) * WIDTH; i++) {
        most = max(most, shares[i]);
    }
    return most;
}
