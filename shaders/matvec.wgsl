// y = epilogue(W prologue(x) + B h): a weight matrix times one vector, for decode.
//
//   x     [columns]        the vector, residual stream or activation, f32
//   W     [rows, columns]  packed in tiles of 32 rows by `weights`
//   h, B                   the low-rank update, where there is one; shares of h lie behind x: see `update`
//   A                      of the update that y goes to, where there is one: see `next`
//
// A workgroup owns one tile. Rows go to lanes, so that a dot product needs no reduction over lanes;
// `lanes` says how many lanes there are, how the vector reaches them and whether columns are shared out
// among slices of the workgroup. Sums are f32. A tile's rows a = i and b = i + 16 are finished together:
// the row order of the matrix puts there what the epilogue combines.

struct Params {
    blocks: u32,     // columns / 32
    first_tile: u32, // of this slice of the matrix
    position: u32,   // added to the position in `state`, for epilogues that need one
    tokens: u32,     // always 1 here; epilogues are shared with matmul
}
#import params

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // [columns / 4]
#import weights
#import prologue
#import update
#import next
#import epilogue
#import lanes

@compute @workgroup_size(LANES, SLICES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    var sums: array<f32, SLOTS>;
    var squares = 0.0;
    for (var block = local.y; block < params.blocks; block += SLICES) {
        let xs = spread(block * 8u, lane, &squares);
        let total = xs[0] + xs[1] + xs[2] + xs[3] + xs[4] + xs[5] + xs[6] + xs[7];
        let x_sum = total.x + total.y + total.z + total.w;
        let first = (workgroup.x * params.blocks + block) * 32u + lane;
        for (var slot = 0u; slot < SLOTS; slot++) {
            let weights = load_block(first + slot * LANES);
            var sum = values(weights, 0u) * xs[0];
            sum = fma(values(weights, 1u), xs[1], sum);
            sum = fma(values(weights, 2u), xs[2], sum);
            sum = fma(values(weights, 3u), xs[3], sum);
            sum = fma(values(weights, 4u), xs[4], sum);
            sum = fma(values(weights, 5u), xs[5], sum);
            sum = fma(values(weights, 6u), xs[6], sum);
            sum = fma(values(weights, 7u), xs[7], sum);
            sums[slot] += fma(weights.scale, sum.x + sum.y + sum.z + sum.w, weights.offset * x_sum);
        }
    }
    let tile = params.first_tile + workgroup.x;
    update(&sums, tile, local);
    if (combine(&sums, &squares, local)) {
        let factor = prologue_factor(squares, params.blocks * 32u);
        for (var slot = 0u; slot < SLOTS / 2u; slot++) {
            finish(0u, tile, slot * LANES + lane, factor * sums[slot], factor * sums[slot + SLOTS / 2u]);
        }
    }
    next_finish(tile, local.y * LANES + lane, LANES * SLICES);
}
