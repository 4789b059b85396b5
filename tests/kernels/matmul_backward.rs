use super::{
    Matrix, assert_close_to, columns, for_cases, numbers, output, read, run, to_slots, tokens,
};
use super::{tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::{Adapter, matmul_backward};
use first_wgpu::reference::matmul_backward::matmul_backward as reference;
use first_wgpu::reference::residual::residual;
use first_wgpu::weights::Format;
use first_wgpu::weights::pack::{Linear, Order};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    for (index, format) in Format::ALL.into_iter().enumerate() {
        // Of the ranks 8, 16 and 24, each with some formats: a pipeline takes long to make.
        let some_rank = 8 * (1 + index % 3);
        let order = prop_oneof![Just(Order::Plain), Just(Order::Pairs), Just(Order::Halves)];
        let sizes = (
            order,
            // Of both matrices together up to ten tiles, more than there are slices of a workgroup.
            prop_oneof![
                Just(2usize),
                16..18usize,
                31..34usize,
                1..50usize,
                60..150usize
            ],
            tokens(),
            1..17usize,
            prop_oneof![Just(0usize), Just(some_rank)],
            any::<u64>(),
            prop_oneof![Just(1u64 << 27), Just(50_000)],
        );
        for_cases(
            16,
            sizes,
            |(order, rows, tokens, blocks, rank, seed, most_bytes)| {
                // A pair of rows never crosses from one matrix to the next.
                let rows = rows.next_multiple_of(2);
                let parts = [2, 3]
                    .map(|salt| Matrix::new(format, rows, columns(format, *blocks), seed ^ salt));
                check(gpu, *order, &parts, *most_bytes, [*tokens, *rank], *seed);
            },
        );
    }
    // Files mix formats; a tile that does is stored as f32.
    let parts = [(Format::Q4_1, 48), (Format::Q8_0, 32), (Format::F16, 64)]
        .map(|(format, rows)| Matrix::new(format, rows, 96, rows as u64));
    let views: Vec<_> = parts.iter().map(Matrix::view).collect();
    let linear = Linear::pack(gpu, "matrix", Order::Pairs, &views).expect("packs");
    // The second and the third of five.
    assert_eq!(linear.mixed_bytes, 2 * 32 * 96 * 4);
    // What is f32 in the file is no mixture.
    let apart = [Format::F32, Format::Q4_1].map(|format| Matrix::new(format, 64, 96, 1));
    let views: Vec<_> = apart.iter().map(Matrix::view).collect();
    let linear = Linear::pack(gpu, "matrix", Order::Pairs, &views).expect("packs");
    assert_eq!(linear.mixed_bytes, 0);
    for tokens in [1, 33] {
        check(gpu, Order::Pairs, &parts, 1 << 27, [tokens, 8], 1);
    }
}

/// Of several matrices one below the other.
fn check(
    gpu: &Gpu,
    order: Order,
    parts: &[Matrix],
    most_bytes: u64,
    [tokens, rank]: [usize; 2],
    seed: u64,
) {
    let views: Vec<_> = parts.iter().map(Matrix::view).collect();
    let linear = Linear::pack_within(gpu, "matrix", order, &views, most_bytes).expect("packs");
    let (rows, columns) = (linear.rows, linear.columns);
    let w: Vec<f32> = parts.iter().flat_map(|part| part.values.clone()).collect();
    let dy = numbers(seed ^ 1, tokens * rows);
    let (a, dh) = (
        numbers(seed ^ 4, rank * columns),
        numbers(seed ^ 5, tokens * rank),
    );
    let transposed: Vec<f32> = (0..columns * rank)
        .map(|index| a[index % rank * columns + index / rank])
        .collect();
    let [h, b] = [&dh, &transposed].map(|values| upload(gpu, values));
    let adapter = (rank > 0).then_some(Adapter { h: &h, b: &b, rank });
    let dx = output(gpu, tokens * columns);
    let buffers = [&upload(gpu, &to_slots(&linear, &dy)), &dx];
    let steps = matmul_backward::steps(gpu, "product", &linear, buffers, tokens, adapter);
    run(gpu, steps.expect("valid"));
    let mut expected = reference(&w, &dy, columns);
    if rank > 0 {
        expected = residual(&expected, &reference(&a, &dh, columns));
    }
    let found = read(gpu, &dx, tokens * columns);
    let count = rows + rank;
    let (allowed, size) = (tolerance::sum(count), (count as f32).sqrt());
    assert_close_to(parts[0].format.name(), &expected, &found, allowed, size);
}
