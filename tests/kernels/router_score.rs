use super::{assert_close, for_cases, numbers, output, read, run, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::router_score::{self, Routers};
use first_wgpu::reference::router_score::router_score as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let sizes = (
        1..40usize,
        1..33usize,
        1..3usize,
        0..9usize,
        any::<u64>(),
        any::<bool>(),
    );
    for_cases(24, sizes, |(tokens, blocks, count, first, seed, norm)| {
        let (hidden, stride) = (32 * blocks, first + tokens + 3);
        // The residual stream of the default model reaches 24,827.
        let size = if *norm { 2e4 } else { 0.1 };
        let x: Vec<f32> = numbers(*seed, tokens * hidden)
            .iter()
            .map(|x| x * size)
            .collect();
        let (w, b) = (numbers(seed ^ 1, count * hidden), numbers(seed ^ 2, *count));
        let epsilon = norm.then_some(1e-5);
        let scores = output(gpu, count * stride);
        let (weights, biases) = (upload(gpu, &w), upload(gpu, &b));
        let routers = Routers {
            weights: &weights,
            biases: &biases,
            count: *count,
            epsilon,
            scores: &scores,
            stride,
        };
        let step = router_score::step(
            gpu,
            "router",
            routers,
            &upload(gpu, &x),
            [*tokens, hidden],
            *first,
        );
        run(gpu, vec![step.expect("valid")]);
        let found = read(gpu, &scores, count * stride);
        for router in 0..*count {
            let expected = reference(&x, &w[router * hidden..][..hidden], b[router], epsilon);
            let own = &found[router * stride..][..stride];
            let allowed = tolerance::TRANSCENDENTAL + tolerance::sum(hidden);
            assert_close("scores", &expected, &own[*first..first + tokens], allowed);
            assert!(
                own[..*first]
                    .iter()
                    .chain(&own[first + tokens..])
                    .all(|score| score.is_nan()),
                "wrote elsewhere"
            );
        }
    });
}
