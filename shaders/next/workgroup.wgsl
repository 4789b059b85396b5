// `next/subgroup` on a GPU, and for high ranks: the rows of a workgroup pass through workgroup memory, whose invocations
// share them out and add up what they have.

// A [rows, NEXT_FOURS], with alpha / r and a norm's gamma in it
#import lora_a
override NEXT_FOURS: u32;
override SHARE_ROWS: u32; // at most 512, all of which the importer adds

const MOST_INVOCATIONS: u32 = 256u;
const MOST_ROW_GROUPS: u32 = 8u;

var<workgroup> row_values: array<f32, 512>;
var<workgroup> row_sums: array<vec4<f32>, MOST_INVOCATIONS>;

fn next_add(row: u32, value: f32) {
    row_values[row % SHARE_ROWS] = value;
}

fn next_finish(share: u32, invocation: u32, invocations: u32) {
    for (var first = 0u; first < NEXT_FOURS; first += invocations) {
        let count = min(NEXT_FOURS - first, invocations); // of fours, this time
        let groups = min(invocations / count, MOST_ROW_GROUPS);
        let four = first + invocation % count;
        workgroupBarrier();
        var sum = vec4<f32>(0.0);
        // More groups would leave a row or none to a group, and much to whoever adds them up.
        if (invocation < groups * count) {
            for (var row = invocation / count; row < SHARE_ROWS; row += groups) {
                sum += row_values[row] * lora_a((share * SHARE_ROWS + row) * NEXT_FOURS + four);
            }
        }
        row_sums[invocation] = sum;
        workgroupBarrier();
        if (invocation < count) {
            for (var group = 1u; group < groups; group++) {
                sum += row_sums[group * count + invocation];
            }
            for (var i = 0u; i < 4u; i++) {
                next_keep(4u * (share * NEXT_FOURS + four) + i, sum[i]);
            }
        }
    }
}
