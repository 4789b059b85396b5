use super::{assert_close_to, for_cases, numbers, read, run, tokens, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::router_weights_backward;
use first_wgpu::reference::residual::residual;
use first_wgpu::reference::router_weights_backward::router_weights_backward as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    for_cases(
        24,
        (tokens(), 1..40usize, any::<u64>()),
        |(tokens, blocks, seed)| {
            let (hidden, stride) = (32 * blocks, tokens + 3);
            let x = numbers(*seed, tokens * hidden);
            let dz = numbers(seed ^ 1, 2 * stride);
            let before = numbers(seed ^ 2, 2 * hidden);
            let dw = upload(gpu, &before);
            let buffers = [&upload(gpu, &x), &upload(gpu, &dz), &dw];
            let step =
                router_weights_backward::step(gpu, "router", buffers, [*tokens, hidden, stride]);
            run(gpu, vec![step.expect("valid")]);
            let own = [0, stride].map(|first| reference(&x, &dz[first..first + tokens]));
            let expected = residual(&before, &own.concat());
            let found = read(gpu, &dw, 2 * hidden);
            let size = (*tokens as f32).sqrt();
            assert_close_to("dw", &expected, &found, tolerance::sum(*tokens), size);
        },
    );
}
