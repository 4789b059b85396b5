// The way down to the adapted product that takes the vector which is being made, on software Vulkan, where a workgroup
// is one subgroup: each workgroup leaves its share of h = A x, the sum over the SHARE_ROWS rows that it has made, behind
// the vector. The importer calls `next_add` for each row and then `next_finish`, and declares `next_keep(index, four)`.

@group(0) @binding(14) var<storage, read> a: array<vec4<f32>>; // [rows, NEXT_FOURS]; alpha / r and a norm's gamma in it
override NEXT_FOURS: u32;
override SHARE_ROWS: u32;

const MOST_ROWS: u32 = 64u; // of a lane: four heads of up to 128 dimensions

var<private> made: u32 = 0u;
var<private> rows: array<u32, MOST_ROWS>;
var<private> row_values: array<f32, MOST_ROWS>;

fn next_add(row: u32, value: f32) {
    rows[made] = row;
    row_values[made] = value;
    made++;
}

fn next_finish(share: u32, invocation: u32, invocations: u32) {
    for (var four = 0u; four < NEXT_FOURS; four++) {
        var sum = vec4<f32>(0.0);
        for (var i = 0u; i < made; i++) {
            sum += row_values[i] * a[rows[i] * NEXT_FOURS + four];
        }
        sum = subgroupAdd(sum);
        if (invocation == 0u) {
            next_keep(share * NEXT_FOURS + four, sum);
        }
    }
}
