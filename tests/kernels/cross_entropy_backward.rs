use super::{assert_close_to, for_cases, numbers, read, run, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::cross_entropy_backward;
use first_wgpu::reference::cross_entropy_backward::cross_entropy_backward as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let vocab = prop_oneof![Just(1usize), Just(8), Just(129), 2..3000usize];
    let sizes = (vocab, 1..9usize, any::<u64>(), 0..3i32);
    for_cases(16, sizes, |(vocab, tokens, seed, size)| {
        let size = 10f32.powi(*size);
        let values: Vec<f32> = numbers(*seed, vocab * tokens)
            .iter()
            .map(|logit| logit * size)
            .collect();
        let ids: Vec<u32> = (0..*tokens)
            .map(|token| ((token * 7919 + 1) % vocab) as u32)
            .collect();
        let logits = upload(gpu, &values);
        let targets = Buffer::from_slice(gpu, "targets", &ids).expect("fits");
        let buffers = [&logits, &targets];
        let step = cross_entropy_backward::step(gpu, buffers, [*tokens, *vocab], 0.25);
        run(gpu, vec![step.expect("valid")]);
        // An error of a logit is a relative error of its probability.
        let allowed = size * tolerance::TRANSCENDENTAL + tolerance::sum(*vocab);
        let expected = reference(&values, &ids, 0.25);
        let found = read(gpu, &logits, values.len());
        assert_close_to("dlogits", &expected, &found, allowed, 0.25);
    });
}
