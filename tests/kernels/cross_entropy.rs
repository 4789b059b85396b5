use super::{assert_close, for_cases, numbers, output, read, run, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::cross_entropy;
use first_wgpu::reference::cross_entropy::cross_entropy as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let sizes = prop_oneof![Just(1usize), Just(8), Just(129), 2..3000usize];
    for_cases(
        16,
        (sizes, 1..9usize, any::<u64>(), 0..3i32),
        |(vocab, tokens, seed, size)| {
            let logits: Vec<f32> = numbers(*seed, vocab * tokens)
                .iter()
                .map(|logit| logit * 10f32.powi(*size))
                .collect();
            let targets: Vec<u32> = (0..*tokens)
                .map(|token| ((token * 7919) % vocab) as u32)
                .collect();
            let losses = output(gpu, *tokens);
            let target_buffer = Buffer::from_slice(gpu, "targets", &targets).expect("fits");
            let step = cross_entropy::step(
                gpu,
                [&upload(gpu, &logits), &target_buffer, &losses],
                [*tokens, *vocab],
            );
            run(gpu, vec![step.expect("valid")]);
            let found = read(gpu, &losses, *tokens);
            let expected = reference(&logits, &targets);
            // A loss is a difference of numbers as large as the logits.
            let scale = 10f32.powi(*size).max(1.0);
            let scaled = |values: &[f32]| {
                values
                    .iter()
                    .map(|value| value / scale)
                    .chain([1.0])
                    .collect::<Vec<_>>()
            };
            assert_close(
                "losses",
                &scaled(&expected),
                &scaled(&found),
                tolerance::TRANSCENDENTAL + tolerance::sum(*vocab),
            );
        },
    );
}
