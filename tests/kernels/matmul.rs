use super::{
    Matrix, assert_close_to, columns, for_cases, numbers, output, pad, read, run, tokens,
    tolerance, upload,
};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::{Adapter, Epilogue, matmul};
use first_wgpu::reference::matmul::matmul as reference;
use first_wgpu::reference::residual::residual;
use first_wgpu::weights::Format;
use first_wgpu::weights::pack::{Linear, Order};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    for (index, format) in Format::ALL.into_iter().enumerate() {
        // Of the ranks 8, 16 and 24, each with some formats: a pipeline takes long to make.
        let some_rank = 8 * (1 + index % 3);
        let rows = prop_oneof![Just(1usize), 31..34usize, 33..100usize, 60..100usize];
        let sizes = (
            rows,
            tokens(),
            1..17usize,
            any::<bool>(),
            any::<u64>(),
            prop_oneof![Just(1u64 << 27), Just(50_000)],
        );
        for_cases(
            24,
            sizes,
            |(rows, tokens, blocks, adapted, seed, most_bytes)| {
                let (columns, rank) = (columns(format, *blocks), some_rank * usize::from(*adapted));
                let matrix = Matrix::new(format, *rows, columns, *seed);
                let linear =
                    Linear::pack_within(gpu, "matrix", Order::Plain, &[matrix.view()], *most_bytes)
                        .expect("packs");
                let x = numbers(seed ^ 1, tokens * columns);
                let (h, b) = (
                    numbers(seed ^ 2, tokens * rank),
                    numbers(seed ^ 3, rows * rank),
                );
                let [h_buffer, b_buffer] =
                    [&h, &pad(&linear, &b)].map(|values| upload(gpu, values));
                let adapter = (rank > 0).then_some(Adapter {
                    h: &h_buffer,
                    b: &b_buffer,
                    rank,
                });
                let y = output(gpu, tokens * rows);
                let steps = matmul::steps(
                    gpu,
                    "product",
                    &linear,
                    &upload(gpu, &x),
                    [*tokens, 0],
                    adapter,
                    Epilogue::Store { y: &y },
                );
                run(gpu, steps.expect("valid"));
                let found = read(gpu, &y, tokens * rows);
                let mut expected = reference(&matrix.values, &x, columns);
                if rank > 0 {
                    expected = residual(&expected, &reference(&b, &h, rank));
                }
                // Errors follow the size of the products, not that of a sum that may cancel.
                let (allowed, size) = (tolerance::sum(columns + rank), (columns as f32).sqrt());
                assert_close_to(format.name(), &expected, &found, allowed, size);
            },
        );
    }
}
