use super::{assert_close_to, for_cases, numbers, read, run, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::cross_entropy::Teacher;
use first_wgpu::kernels::cross_entropy_backward::step;
use first_wgpu::reference::cross_entropy_backward::cross_entropy_backward as reference;
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
        let values = sized(*seed);
        // The last of several tokens has no target.
        let ids: Vec<u32> = (0..*tokens)
            .map(|token| match token + 1 == *tokens && token > 0 {
                true => u32::MAX,
                false => ((token * 7919 + 1) % vocab) as u32,
            })
            .collect();
        let share = if *taught { 0.75 } else { 0.0 };
        let probabilities = softmax(&sized(seed ^ 1), *vocab);
        let (logits, own) = (upload(gpu, &values), upload(gpu, &probabilities));
        let teacher = taught.then_some(Teacher {
            probabilities: &own,
            share,
        });
        let targets = Buffer::from_slice(gpu, "targets", &ids).expect("fits");
        let step = step(gpu, [&logits, &targets], teacher, [*tokens, *vocab], 0.25);
        run(gpu, vec![step.expect("valid")]);
        // An error of a logit is a relative error of its probability.
        let allowed = size * tolerance::TRANSCENDENTAL + tolerance::sum(*vocab);
        let expected = reference(&values, &ids, (share, &probabilities), 0.25);
        let found = read(gpu, &logits, values.len());
        assert_close_to("dlogits", &expected, &found, allowed, 0.25);
    });
}
