// The way down to the first adapted product of a token, whose vector no product has made: shares of h = A y behind y,
// as `next` leaves them.
//
//   A  [rows, rank]                    f32
//   y  [rows], then [rows / 32, rank]  f32
//
// A workgroup owns 32 rows, and leaves one share. Sums are f32.

struct Params {
    rows: u32,
}
#import params

@group(0) @binding(20) var<storage, read_write> y: array<f32>;
#import next
override LANES: u32;

fn next_keep(index: u32, value: f32) {
    y[params.rows + index] = value;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < SHARE_ROWS; i += LANES) {
        let row = workgroup.x * SHARE_ROWS + i;
        next_add(row, y[row]);
    }
    next_finish(workgroup.x, lane, LANES);
}
