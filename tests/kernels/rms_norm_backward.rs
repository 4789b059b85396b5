use super::{assert_close_to, for_cases, numbers, read, run, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::rms_norm_backward::{self, RmsNormBackward};
use first_wgpu::reference::residual::residual;
use first_wgpu::reference::rms_norm_backward::rms_norm_backward as reference;
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
        let size = 10f32.powi(*size);
        let mut x: Vec<f32> = numbers(*seed, tokens * hidden)
            .iter()
            .map(|x| x * size)
            .collect();
        // Of the largest rows, gradients are the smallest: what is there before is of their size.
        let before: Vec<f32> = numbers(seed ^ 1, tokens * hidden)
            .iter()
            .map(|dx| dx / size)
            .collect();
        if *tokens > 1 {
            x[..hidden].fill(0.0);
        }
        let (gamma, dy) = (
            numbers(seed ^ 2, hidden),
            numbers(seed ^ 3, tokens * hidden),
        );
        let dx = upload(gpu, &before);
        let buffers = RmsNormBackward {
            x: &upload(gpu, &x),
            gamma: &upload(gpu, &gamma),
            dy: &upload(gpu, &dy),
            dx: &dx,
        };
        let step = rms_norm_backward::step(gpu, "norm", buffers, [*tokens, hidden], 1e-5);
        run(gpu, vec![step.expect("valid")]);
        let expected = residual(&before, &reference(&x, &gamma, &dy, 1e-5));
        let found = read(gpu, &dx, tokens * hidden);
        let rows = expected
            .chunks_exact(hidden)
            .zip(found.chunks_exact(hidden));
        for (expected, found) in rows {
            assert_close_to("dx", expected, found, tolerance::sum(hidden), 0.0);
        }
    });
}
