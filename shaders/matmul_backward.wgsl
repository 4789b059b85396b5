// dX = dY W + dH A: the gradient of `matmul` with respect to its input.
//
//   dY   [tokens, slots]    f32; slots = 32 a tile: the rows of W in the order of the tiles, zero where padded
//   W    [rows, columns]    packed in tiles of 32 rows by `weights`
//   dH, A                   the gradient of `adapter`, where there is one
//   dX   [tokens, columns]  f32
//
// A workgroup owns one block of 32 columns (x) and TOKENS tokens (y). `tile` says how lanes share the work. Sums are
// f32. A matrix in slices adds each slice to what the ones before it wrote.

struct Params {
    blocks: u32,     // columns / 32
    tiles: u32,      // of this slice of the matrix
    first_tile: u32,
    slots: u32,      // of the whole matrix
    tokens: u32,
}
#import params

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>; // [tokens, slots / 4]
#import weights
#import adapter
@group(0) @binding(20) var<storage, read_write> dx: array<vec4<f32>>; // [tokens, columns / 4]
override ACCUMULATE: bool = false;
#import tile

// Four columns of one row.
fn columns(index: u32, four: u32) -> vec4<f32> {
    let block = load_block(index);
    return fma(values(block, four), vec4<f32>(block.scale), vec4<f32>(block.offset));
}

fn store(token: u32, four: u32, sum: vec4<f32>) {
    let at = token * params.blocks * 8u + four;
    if (ACCUMULATE) {
        dx[at] += sum;
    } else {
        dx[at] = sum;
    }
}

@compute @workgroup_size(LANES, GROUPS, SLICES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    multiply(workgroup.x, workgroup.y * TOKENS, local);
}
