use super::{assert_close, for_cases, numbers, output, read, run, tokens, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::gate::{self, Gating, STRIDE};
use first_wgpu::reference::gate::gate as reference;
use proptest::prelude::*;

/// Scores of both routers of a layer, `[2, stride]`, NaN past the last token. Either router may be all but sure.
pub(crate) fn scores(seed: u64, tokens: usize, stride: usize, sure: [bool; 2]) -> Vec<f32> {
    let mut scores = vec![f32::NAN; 2 * stride];
    for router in 0..2 {
        for (token, number) in numbers(seed ^ router as u64, tokens).iter().enumerate() {
            let score = 0.5 + number / 2.0;
            scores[router * stride + token] = if sure[router] { score.ceil() } else { score };
        }
    }
    scores
}

pub(crate) fn test(gpu: &Gpu) {
    let temperature = prop_oneof![Just(1.0f32), Just(0.1), 0.1..2.0f32];
    let sizes = (
        tokens(),
        temperature,
        any::<bool>(),
        any::<[bool; 2]>(),
        any::<u64>(),
    );
    for_cases(24, sizes, |(tokens, temperature, hard, sure, seed)| {
        let (tokens, stride) = (*tokens, tokens + 5);
        let p = scores(*seed, tokens, stride, *sure);
        let gates = output(gpu, 2 * STRIDE);
        let gating = Gating {
            temperature: *temperature,
            hard: *hard,
        };
        let buffers = [&upload(gpu, &p), &gates];
        let step = gate::step(gpu, "gate", buffers, [tokens, stride], gating).expect("valid");
        run(gpu, vec![step]);
        let found = read(gpu, &gates, 2 * STRIDE);
        for router in 0..2 {
            let [g, s] = reference(&p[router * stride..][..tokens], *temperature, *hard);
            // An error of the score is one of its logit, and more so at a low temperature.
            let allowed = tolerance::TRANSCENDENTAL + tolerance::sum(tokens) / temperature;
            let own = &found[router * STRIDE..][..3];
            assert_close("gate, score, gradient", &[g, s, 0.0], own, allowed);
        }
    });
}
