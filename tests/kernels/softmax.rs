use super::{assert_each_close, for_cases, numbers, read, run, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::{most_vocab, softmax};
use first_wgpu::reference::softmax::softmax as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let vocab = prop_oneof![Just(1usize), Just(8), Just(129), 2..3000usize, Just(49_152)];
    let sizes = (vocab, 1..9usize, any::<u64>(), 0..3i32);
    for_cases(16, sizes, |(vocab, tokens, seed, size)| {
        agrees(gpu, [*vocab, *tokens], *seed, 10f32.powi(*size));
    });
    // The largest that some drivers see whole.
    agrees(gpu, [most_vocab(&gpu.class).min(200_000), 1], 1, 1.0);
}

fn agrees(gpu: &Gpu, [vocab, tokens]: [usize; 2], seed: u64, size: f32) {
    let logits: Vec<f32> = numbers(seed, vocab * tokens)
        .iter()
        .map(|logit| logit * size)
        .collect();
    let y = upload(gpu, &logits);
    run(
        gpu,
        vec![softmax::step(gpu, &y, [tokens, vocab]).expect("valid")],
    );
    // An error of a logit is a relative error of its probability.
    let allowed = size * tolerance::TRANSCENDENTAL + tolerance::sum(vocab);
    let found = read(gpu, &y, logits.len());
    let expected = reference(&logits, vocab);
    let size = |index: usize| allowed * expected[index] + f32::MIN_POSITIVE;
    assert_each_close("p", &expected, &found, size);
}
