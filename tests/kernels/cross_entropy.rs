use super::{assert_close, for_cases, numbers, output, read, run, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::cross_entropy::{Teacher, step};
use first_wgpu::reference::cross_entropy::cross_entropy as reference;
use first_wgpu::reference::softmax::softmax;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let vocab = prop_oneof![Just(1usize), Just(8), Just(129), 2..3000usize];
    let sizes = (vocab, 1..9usize, any::<u64>(), 0..3i32, any::<bool>());
    for_cases(24, sizes, |(vocab, tokens, seed, size, taught)| {
        let size = 10f32.powi(*size);
        let sized = |seed: u64| -> Vec<f32> {
            let numbers = numbers(seed, vocab * tokens);
            numbers.iter().map(|logit| logit * size).collect()
        };
        let logits = sized(*seed);
        // The last of several tokens has no target.
        let ids: Vec<u32> = (0..*tokens)
            .map(|token| match token + 1 == *tokens && token > 0 {
                true => u32::MAX,
                false => ((token * 7919) % vocab) as u32,
            })
            .collect();
        let share = if *taught { 0.75 } else { 0.0 };
        let probabilities = softmax(&sized(seed ^ 1), *vocab);
        let own = upload(gpu, &probabilities);
        let teacher = taught.then_some(Teacher {
            probabilities: &own,
            share,
        });
        let losses = output(gpu, *tokens);
        let targets = Buffer::from_slice(gpu, "targets", &ids).expect("fits");
        let buffers = [&upload(gpu, &logits), &targets, &losses];
        let step = step(gpu, buffers, teacher, [*tokens, *vocab]);
        run(gpu, vec![step.expect("valid")]);
        let found = read(gpu, &losses, *tokens);
        let expected = reference(&logits, &ids, (share, &probabilities));
        // A loss is a difference of numbers as large as the logits.
        let scaled = |values: &[f32]| {
            values
                .iter()
                .map(|value| value / size)
                .chain([1.0])
                .collect::<Vec<_>>()
        };
        assert_close(
            "losses",
            &scaled(&expected),
            &scaled(&found),
            tolerance::TRANSCENDENTAL + tolerance::sum(*vocab),
        );
    });
}
