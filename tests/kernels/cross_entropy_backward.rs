use super::cross_entropy::cases;
use super::{assert_each_close, for_cases, read, run, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::cross_entropy_backward::step;
use first_wgpu::reference::cross_entropy_backward::cross_entropy_backward as reference;
use first_wgpu::reference::softmax::softmax;

pub(crate) fn test(gpu: &Gpu) {
    for_cases(24, cases(), |case| {
        let [vocab, tokens] = case.sizes;
        let (logits, own) = (upload(gpu, &case.logits), upload(gpu, &case.probabilities));
        let targets = Buffer::from_slice(gpu, "targets", &case.ids).expect("fits");
        let teacher = case.teacher(&own);
        let step = step(gpu, [&logits, &targets], teacher, [tokens, vocab], 0.25);
        run(gpu, vec![step.expect("valid")]);
        // An error of a logit is a relative error of its probability.
        let allowed = case.size * tolerance::TRANSCENDENTAL + tolerance::sum(vocab);
        let taught = (case.share, case.probabilities.as_slice());
        let expected = reference(&case.logits, &case.ids, taught, 0.25);
        let found = read(gpu, &logits, case.logits.len());
        // A gradient is a difference of what the model and the teacher give the token, and of 1 for the target.
        let own = softmax(&case.logits, vocab);
        let size = |index: usize| {
            let target = case.ids[index / vocab] as usize == index % vocab;
            let sum = own[index] + case.probabilities[index] + f32::from(u8::from(target));
            allowed * 0.25 * sum + f32::MIN_POSITIVE
        };
        assert_each_close("dlogits", &expected, &found, size);
    });
}
