use super::{Matrix, assert_close, for_cases, numbers, output, tolerance, upload};
use first_wgpu::gpu::{Gpu, Plan};
use first_wgpu::kernels::{Epilogue, matmul};
use first_wgpu::reference::matmul::matmul as reference;
use first_wgpu::weights::Format;
use first_wgpu::weights::pack::{Linear, Order};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    for format in Format::ALL {
        let rows = prop_oneof![Just(1usize), Just(31), Just(32), Just(33), 1..100usize];
        let tokens = prop_oneof![
            Just(1usize),
            Just(7),
            Just(8),
            Just(31),
            Just(32),
            Just(33),
            1..100usize
        ];
        let sizes = (
            rows,
            tokens,
            1..17usize,
            any::<u64>(),
            prop_oneof![Just(1u64 << 27), Just(50_000)],
        );
        for_cases(12, sizes, |(rows, tokens, blocks, seed, most_bytes)| {
            let columns = 32 * blocks;
            let matrix = Matrix::new(format, *rows, columns, *seed);
            let linear =
                Linear::pack_within(gpu, "matrix", Order::Plain, &[matrix.view()], *most_bytes)
                    .expect("packs");
            let x = numbers(seed ^ 1, tokens * columns);
            let y = output(gpu, tokens * rows);
            let steps = matmul::steps(
                gpu,
                "product",
                &linear,
                &upload(gpu, &x),
                [*tokens, 0],
                None,
                Epilogue::Store { y: &y },
            );
            Plan::new(gpu, steps.expect("valid"))
                .and_then(|plan| plan.run(gpu))
                .expect("runs");
            let found: Vec<f32> = y.read_back(gpu, tokens * rows).expect("reads");
            let mut expected = reference(&matrix.values, &x, columns);
            let size = (columns as f32).sqrt();
            expected.push(size);
            assert_close(
                format.name(),
                &expected,
                &[found, vec![size]].concat(),
                tolerance::sum(columns),
            );
        });
    }
}
