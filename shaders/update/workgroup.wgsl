// `update/subgroup` on a GPU: all invocations of the workgroup add up shares, neighbours reading neighbours, and keep what
// they have in workgroup memory; then slices take turns with the numbers of h, and `combine` adds up their products.

// x [columns / 4], then [SHARES, PARTS, RANK_FOURS]
// B [32 tiles, RANK_FOURS], rows in the order of the tiles
#import lora_b
override SHARES: u32;
override PARTS: u32;
override RANK_FOURS: u32; // of one part

const MOST_SHARE_GROUPS: u32 = 8u;

var<workgroup> shares: array<vec4<f32>, 256>; // one an invocation; naga 30 takes one size of LANES * SLICES, `partial`'s

fn update(sums: ptr<function, array<f32, SLOTS>>, tile: u32, local: vec3<u32>) {
    let fours = PARTS * RANK_FOURS;
    let invocations = LANES * SLICES;
    let invocation = local.y * LANES + local.x;
    for (var first = 0u; first < fours; first += invocations) {
        let count = min(fours - first, invocations); // of fours, this time
        let groups = min(invocations / count, MOST_SHARE_GROUPS);
        let four = first + invocation % count;
        var sum = vec4<f32>(0.0);
        // More groups would leave little to a group, and much to whoever adds them up.
        if (invocation < groups * count) {
            for (var share = invocation / count; share < SHARES; share += groups) {
                sum += x[params.blocks * 8u + share * fours + four];
            }
        }
        workgroupBarrier();
        shares[invocation] = sum;
        workgroupBarrier();
        for (var i = local.y; i < count; i += SLICES) {
            var h = vec4<f32>(0.0);
            for (var group = 0u; group < groups; group++) {
                h += shares[group * count + i];
            }
            let own = first + i;
            for (var slot = 0u; slot < SLOTS; slot++) {
                let row = tile * 32u + slot * LANES + local.x;
                if (part(row) == own / RANK_FOURS) {
                    (*sums)[slot] += dot(lora_b(row * RANK_FOURS + own % RANK_FOURS), h);
                }
            }
        }
    }
}
