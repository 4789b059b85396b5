// Reductions over a workgroup of 128, in workgroup memory. All invocations must call them together.

const LANES: u32 = 128u;

var<workgroup> reduced: array<vec4<f32>, LANES>;

fn reduce_sum(value: vec4<f32>, lane: u32) -> vec4<f32> {
    reduced[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            reduced[lane] += reduced[lane + half];
        }
        workgroupBarrier();
    }
    let sum = reduced[0];
    workgroupBarrier(); // the memory may be reused at once
    return sum;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    reduced[lane].x = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            reduced[lane].x = max(reduced[lane].x, reduced[lane + half].x);
        }
        workgroupBarrier();
    }
    let most = reduced[0].x;
    workgroupBarrier();
    return most;
}

// The sum over the lanes before this one, added up in the order of the lanes.
fn exclusive_sum(value: f32, lane: u32) -> f32 {
    reduced[lane].x = value;
    workgroupBarrier();
    var sum = 0.0;
    for (var other = 0u; other < lane; other++) {
        sum += reduced[other].x;
    }
    workgroupBarrier();
    return sum;
}
