// y = a x + b, many times over: what a GPU's arithmetic can do, for the bench to compare kernels with.
//
//   x, y  [count]  f32, count a multiple of 2048
//
// A workgroup owns 512 vec4, an invocation eight of them, which do not depend on one another and stay in
// registers. a and b are read from memory, so that no compiler folds the loop; they keep y bounded.

struct Params {
    turns: u32,
    a: f32,
    b: f32,
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // [count / 4]
@group(0) @binding(20) var<storage, read_write> y: array<vec4<f32>>; // [count / 4]
override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * 8u * LANES + lane;
    let a = vec4<f32>(params.a);
    let b = vec4<f32>(params.b);
    var y0 = x[first];
    var y1 = x[first + LANES];
    var y2 = x[first + 2u * LANES];
    var y3 = x[first + 3u * LANES];
    var y4 = x[first + 4u * LANES];
    var y5 = x[first + 5u * LANES];
    var y6 = x[first + 6u * LANES];
    var y7 = x[first + 7u * LANES];
    for (var turn = 0u; turn < params.turns; turn++) {
        y0 = fma(a, y0, b);
        y1 = fma(a, y1, b);
        y2 = fma(a, y2, b);
        y3 = fma(a, y3, b);
        y4 = fma(a, y4, b);
        y5 = fma(a, y5, b);
        y6 = fma(a, y6, b);
        y7 = fma(a, y7, b);
    }
    y[first] = y0;
    y[first + LANES] = y1;
    y[first + 2u * LANES] = y2;
    y[first + 3u * LANES] = y3;
    y[first + 4u * LANES] = y4;
    y[first + 5u * LANES] = y5;
    y[first + 6u * LANES] = y6;
    y[first + 7u * LANES] = y7;
}
