use super::lora_share::Up;
use super::{
    Matrix, assert_close_to, columns, for_cases, numbers, output, read, run, tolerance, upload,
};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::{Epilogue, Updates, matvec};
use first_wgpu::reference::{matvec::matvec as reference, residual::residual, rms_norm::rms_norm};
use first_wgpu::weights::Format;
use first_wgpu::weights::pack::{Linear, Order};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    for (index, format) in Format::ALL.into_iter().enumerate() {
        // Shares, parts and rank: each with some formats, for a pipeline takes long to make.
        let sizes_of_up = [[1, 1, 8], [9, 1, 4], [40, 1, 12]][index % 3];
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
            0..4u32,
            prop_oneof![Just(1u64 << 27), Just(100_000)],
        );
        for_cases(16, sizes, |(rows, blocks, seed, with, most_bytes)| {
            let columns = columns(format, *blocks);
            let matrix = Matrix::new(format, *rows, columns, *seed);
            let linear =
                Linear::pack_within(gpu, "matrix", Order::Plain, &[matrix.view()], *most_bytes)
                    .expect("packs");
            let (x, gamma) = (numbers(seed ^ 1, columns), numbers(seed ^ 2, columns));
            let y = output(gpu, *rows);
            let gamma_buffer = upload(gpu, &gamma);
            let (with_up, norm) = (with & 1 == 1, with & 2 == 2);
            let up = Up::new(gpu, &linear, sizes_of_up, *seed);
            let folded = norm.then_some(matvec::Norm {
                gamma: &gamma_buffer,
                epsilon: 1e-5,
            });
            let updates = Updates {
                own: with_up.then(|| up.own()),
                next: None,
            };
            let steps = matvec::steps(
                gpu,
                "product",
                &linear,
                &up.behind(gpu, &x),
                folded,
                updates,
                Epilogue::Store { y: &y },
            );
            run(gpu, steps.expect("valid"));
            let found = read(gpu, &y, *rows);
            let mut factor = 1.0;
            let mut normed = x.clone();
            if norm {
                let squares: f32 = x.iter().map(|x| x * x).sum();
                factor = 1.0 / (squares / columns as f32 + 1e-5).sqrt();
                normed = rms_norm(&x, &gamma, 1e-5);
            }
            let mut expected = reference(&matrix.values, &normed);
            if with_up {
                let update = up.update(0, 0, *rows);
                let update: Vec<f32> = update.iter().map(|value| factor * value).collect();
                expected = residual(&expected, &update);
            }
            let x = normed;
            // Errors follow the size of the products, not that of a sum that may cancel.
            let size = (columns as f32).sqrt() * x.iter().fold(0.0f32, |size, x| size.max(x.abs()));
            let allowed = tolerance::sum(columns + sizes_of_up[0] * sizes_of_up[2]);
            assert_close_to(format.name(), &expected, &found, allowed, size);
        });
    }
}
