// `next/subgroup` on a GPU: the rows of a workgroup pass through workgroup memory, then an invocation sums four columns.

@group(0) @binding(14) var<storage, read> a: array<vec4<f32>>; // [rows, NEXT_FOURS]; alpha / r and a norm's gamma in it
override NEXT_FOURS: u32;
override SHARE_ROWS: u32; // at most 128

var<workgroup> row_values: array<f32, 128>;

fn next_add(row: u32, value: f32) {
    row_values[row % SHARE_ROWS] = value;
}

fn next_finish(share: u32, invocation: u32, invocations: u32) {
    workgroupBarrier();
    for (var four = invocation; four < NEXT_FOURS; four += invocations) {
        var sum = vec4<f32>(0.0);
        for (var row = 0u; row < SHARE_ROWS; row++) {
            sum += row_values[row] * a[(share * SHARE_ROWS + row) * NEXT_FOURS + four];
        }
        next_keep(share * NEXT_FOURS + four, sum);
    }
}
