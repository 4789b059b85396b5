use super::{Matrix, assert_close, for_cases, numbers, output, tolerance, upload};
use first_wgpu::gpu::{Gpu, Plan};
use first_wgpu::kernels::{Epilogue, matvec};
use first_wgpu::reference::{matvec::matvec as reference, rms_norm::rms_norm};
use first_wgpu::weights::Format;
use first_wgpu::weights::pack::{Linear, Order};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    for format in Format::ALL {
        // The last is more than a row of any texture that weights are kept in.
        let rows = prop_oneof![
            Just(1usize),
            Just(31),
            Just(32),
            Just(33),
            1..200usize,
            Just(700)
        ];
        let sizes = (
            rows,
            1..33usize,
            any::<u64>(),
            any::<bool>(),
            prop_oneof![Just(1u64 << 27), Just(100_000)],
        );
        for_cases(12, sizes, |(rows, blocks, seed, norm, most_bytes)| {
            let columns = 32 * blocks;
            let matrix = Matrix::new(format, *rows, columns, *seed);
            let linear =
                Linear::pack_within(gpu, "matrix", Order::Plain, &[matrix.view()], *most_bytes)
                    .expect("packs");
            let (x, gamma) = (numbers(seed ^ 1, columns), numbers(seed ^ 2, columns));
            let y = output(gpu, *rows);
            let gamma_buffer = upload(gpu, &gamma);
            let folded = norm.then_some(matvec::Norm {
                gamma: &gamma_buffer,
                epsilon: 1e-5,
            });
            let steps = matvec::steps(
                gpu,
                "product",
                &linear,
                &upload(gpu, &x),
                folded,
                Epilogue::Store { y: &y },
            );
            Plan::new(gpu, steps.expect("valid"))
                .and_then(|plan| plan.run(gpu))
                .expect("runs");
            let x = if *norm { rms_norm(&x, &gamma, 1e-5) } else { x };
            let found: Vec<f32> = y.read_back(gpu, *rows).expect("reads");
            // Errors follow the size of the products, not that of a sum that may cancel.
            let mut expected = reference(&matrix.values, &x);
            let size = (columns as f32).sqrt() * x.iter().fold(0.0f32, |size, x| size.max(x.abs()));
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
