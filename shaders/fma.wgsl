// y = a x + b, many times over: what an adapter's arithmetic can do, for the bench to compare kernels with.
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

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * 512u + lane;
    let a = vec4<f32>(params.a);
    let b = vec4<f32>(params.b);
    var y0 = x[first];
    var y1 = x[first + 64u];
    var y2 = x[first + 128u];
    var y3 = x[first + 192u];
    var y4 = x[first + 256u];
    var y5 = x[first + 320u];
    var y6 = x[first + 384u];
    var y7 = x[first + 448u];
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
    y[first + 64u] = y1;
    y[first + 128u] = y2;
    y[first + 192u] = y3;
    y[first + 256u] = y4;
    y[first + 320u] = y5;
    y[first + 384u] = y6;
    y[first + 448u] = y7;
}
