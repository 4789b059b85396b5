use super::{assert_close, assert_close_to, for_cases, numbers, read, run, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::router_score_backward::{self, RouterScoreBackward};
use first_wgpu::reference::residual::residual;
use first_wgpu::reference::router_score_backward::router_score_backward as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let sizes = (1..40usize, 1..33usize, -1..5i32, any::<u64>());
    for_cases(24, sizes, |(tokens, blocks, size, seed)| {
        let (hidden, stride, size) = (32 * blocks, tokens + 3, 10f32.powi(*size));
        let scaled = |salt: u64, by: f32| -> Vec<f32> {
            let numbers = numbers(seed ^ salt, tokens * hidden);
            numbers.iter().map(|x| x * by).collect()
        };
        // The larger the stream, the smaller its gradient: what is there before is of the same size.
        let (x, before) = (scaled(0, size), scaled(1, 1.0 / size));
        let w = numbers(seed ^ 2, 2 * hidden);
        let dz = numbers(seed ^ 3, 2 * stride);
        let (dx_buffer, dz_buffer) = (upload(gpu, &before), upload(gpu, &dz));
        let buffers = RouterScoreBackward {
            x: &upload(gpu, &x),
            w: &upload(gpu, &w),
            dx: &dx_buffer,
            dz: &dz_buffer,
        };
        let step =
            router_score_backward::step(gpu, "router", buffers, [*tokens, hidden, stride], 1e-5);
        run(gpu, vec![step.expect("valid")]);
        let mut expected = before;
        let found = read(gpu, &dz_buffer, 2 * stride);
        for router in 0..2 {
            let (w, own) = (&w[router * hidden..][..hidden], router * stride);
            let (dx, divided) = reference(&x, w, &dz[own..own + tokens], 1e-5);
            expected = residual(&expected, &dx);
            assert_close(
                "dz",
                &divided,
                &found[own..own + tokens],
                tolerance::sum(hidden),
            );
            let rest = own + tokens..own + stride;
            assert_eq!(dz[rest.clone()], found[rest], "wrote elsewhere");
        }
        let found = read(gpu, &dx_buffer, tokens * hidden);
        assert_close_to("dx", &expected, &found, tolerance::sum(hidden), 1.0 / size);
    });
}
