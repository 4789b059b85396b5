use super::{
    Matrix, assert_close_to, for_cases, numbers, output, pad, read, run, tolerance, upload,
};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::{Adapter, Epilogue, matvec};
use first_wgpu::reference::{matvec::matvec as reference, residual::residual, rms_norm::rms_norm};
use first_wgpu::weights::Format;
use first_wgpu::weights::pack::{Linear, Order};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    for (index, format) in Format::ALL.into_iter().enumerate() {
        // Of the ranks 8, 16 and 24, each with some formats: a pipeline takes long to make.
        let some_rank = 8 * (1 + index % 3);
        let rows = prop_oneof![
            Just(1usize),
            31..34usize,
            33..200usize,
            60..200usize,
            // More than a row of any texture that weights are kept in.
            Just(700)
        ];
        let sizes = (
            rows,
            1..33usize,
            any::<u64>(),
            0..3u32,
            prop_oneof![Just(1u64 << 27), Just(100_000)],
        );
        for_cases(16, sizes, |(rows, blocks, seed, with, most_bytes)| {
            let columns = 32 * blocks;
            let matrix = Matrix::new(format, *rows, columns, *seed);
            let linear =
                Linear::pack_within(gpu, "matrix", Order::Plain, &[matrix.view()], *most_bytes)
                    .expect("packs");
            let (x, gamma) = (numbers(seed ^ 1, columns), numbers(seed ^ 2, columns));
            let y = output(gpu, *rows);
            let gamma_buffer = upload(gpu, &gamma);
            // Nothing, an adapter, or a norm.
            let (rank, norm) = (some_rank * usize::from(*with == 1), *with == 2);
            let (h, b) = (numbers(seed ^ 3, rank), numbers(seed ^ 4, rows * rank));
            let [h_buffer, b_buffer] = [&h, &pad(&linear, &b)].map(|values| upload(gpu, values));
            let adapter = (rank > 0).then_some(Adapter {
                h: &h_buffer,
                b: &b_buffer,
                rank,
            });
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
                adapter,
                Epilogue::Store { y: &y },
            );
            run(gpu, steps.expect("valid"));
            let x = if norm { rms_norm(&x, &gamma, 1e-5) } else { x };
            let found = read(gpu, &y, *rows);
            let mut expected = reference(&matrix.values, &x);
            if rank > 0 {
                expected = residual(&expected, &reference(&b, &h));
            }
            // Errors follow the size of the products, not that of a sum that may cancel.
            let size = (columns as f32).sqrt() * x.iter().fold(0.0f32, |size, x| size.max(x.abs()));
            let allowed = tolerance::sum(columns + rank);
            assert_close_to(format.name(), &expected, &found, allowed, size);
        });
    }
}
