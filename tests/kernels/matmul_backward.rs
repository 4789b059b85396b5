use super::{Matrix, assert_close_to, for_cases, numbers, output, read, run, to_slots, tokens};
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
        let rows = prop_oneof![
            Just(2usize),
            Just(16),
            Just(32),
            Just(34),
            Just(62),
            1..50usize
        ];
        let order = prop_oneof![Just(Order::Plain), Just(Order::Pairs), Just(Order::Halves)];
        let sizes = (
            order,
            rows,
            tokens(),
            1..17usize,
            any::<bool>(),
            any::<u64>(),
            prop_oneof![Just(1u64 << 27), Just(50_000)],
        );
        for_cases(
            16,
            sizes,
            |(order, rows, tokens, blocks, adapted, seed, most_bytes)| {
                let (tokens, columns, rank) =
                    (*tokens, 32 * blocks, some_rank * usize::from(*adapted));
                // Two matrices one below the other; a pair of rows never crosses from one to the next.
                let rows = rows.next_multiple_of(2);
                let parts = [2, 3].map(|salt| Matrix::new(format, rows, columns, seed ^ salt));
                let views = [parts[0].view(), parts[1].view()];
                let linear =
                    Linear::pack_within(gpu, "matrix", *order, &views, *most_bytes).expect("packs");
                let w = [parts[0].values.as_slice(), &parts[1].values].concat();
                let dy = numbers(seed ^ 1, tokens * 2 * rows);
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
                let steps =
                    matmul_backward::steps(gpu, "product", &linear, buffers, tokens, adapter);
                run(gpu, steps.expect("valid"));
                let mut expected = reference(&w, &dy, columns);
                if rank > 0 {
                    expected = residual(&expected, &reference(&a, &dh, columns));
                }
                let found = read(gpu, &dx, tokens * columns);
                let count = 2 * rows + rank;
                let (allowed, size) = (tolerance::sum(count), (count as f32).sqrt());
                assert_close_to(format.name(), &expected, &found, allowed, size);
            },
        );
    }
}
