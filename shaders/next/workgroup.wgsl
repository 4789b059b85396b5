// `next/subgroup` on a GPU, and for high ranks: the rows of a workgroup pass through workgroup memory, then an invocation sums four columns.

// A [rows, NEXT_FOURS], with alpha / r and a norm's gamma in it
#import lora_a
override NEXT_FOURS: u32;
override SHARE_ROWS: u32; // at most 512

var<workgroup> row_values: array<f32, 512>;

fn next_add(row: u32, value: f32) {
    row_values[row % SHARE_ROWS] = value;
}

fn next_finish(share: u32, invocation: u32, invocations: u32) {
    workgroupBarrier();
    for (var four = invocation; four < NEXT_FOURS; four += invocations) {
        var sum = vec4<f32>(0.0);
        for (var row = 0u; row < SHARE_ROWS; row++) {
            sum += row_values[row] * lora_a((share * SHARE_ROWS + row) * NEXT_FOURS + four);
        }
        next_keep(share * NEXT_FOURS + four, sum);
    }
}
