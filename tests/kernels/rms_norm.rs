use super::{assert_close, for_cases, numbers, output, read, run, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::rms_norm;
use first_wgpu::reference::rms_norm::rms_norm as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let sizes = (
        1..40usize,
        prop_oneof![Just(1usize), Just(18), 1..129usize],
        any::<u64>(),
        -3..5i32,
    );
    for_cases(24, sizes, |(tokens, blocks, seed, size)| {
        let hidden = 32 * blocks;
        let mut x: Vec<f32> = numbers(*seed, tokens * hidden)
            .iter()
            .map(|x| x * 10f32.powi(*size))
            .collect();
        x[..hidden].fill(0.0);
        let gamma = numbers(seed ^ 1, hidden);
        let y = output(gpu, tokens * hidden);
        let step = rms_norm::step(
            gpu,
            "norm",
            [&upload(gpu, &x), &upload(gpu, &gamma), &y],
            [*tokens, hidden],
            1e-5,
        );
        run(gpu, vec![step.expect("valid")]);
        let found = read(gpu, &y, tokens * hidden);
        assert_close(
            "y",
            &reference(&x, &gamma, 1e-5),
            &found,
            tolerance::sum(hidden),
        );
    });
}
