use super::{assert_close, for_cases, numbers, output, read, run, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::cross_entropy::{Teacher, step};
use first_wgpu::reference::cross_entropy::cross_entropy as reference;
use first_wgpu::reference::softmax::softmax;
use proptest::prelude::*;

/// Logits and what they are to be.
#[derive(Debug)]
pub(super) struct Case {
    /// `[vocab, tokens]`.
    pub(super) sizes: [usize; 2],
    /// About the size of the logits.
    pub(super) size: f32,
    pub(super) logits: Vec<f32>,
    /// The last of several tokens has no target.
    pub(super) ids: Vec<u32>,
    /// Of the teacher's probabilities in the targets; 0 without a teacher.
    pub(super) share: f32,
    pub(super) probabilities: Vec<f32>,
}

/// Cases of the kernel and of its gradient.
pub(super) fn cases() -> impl Strategy<Value = Case> {
    let vocab = prop_oneof![Just(1usize), Just(8), Just(129), 2..3000usize, Just(49_152)];
    let sizes = (vocab, 1..9usize, any::<u64>(), 0..3i32, any::<bool>());
    sizes.prop_map(|(vocab, tokens, seed, size, taught)| {
        let size = 10f32.powi(size);
        let sized = |seed: u64| -> Vec<f32> {
            let numbers = numbers(seed, vocab * tokens);
            numbers.iter().map(|logit| logit * size).collect()
        };
        let id = |token: usize| {
            if token + 1 == tokens && token > 0 {
                u32::MAX
            } else {
                ((token * 7919 + 1) % vocab) as u32
            }
        };
        Case {
            sizes: [vocab, tokens],
            size,
            logits: sized(seed),
            ids: (0..tokens).map(id).collect(),
            share: if taught { 0.75 } else { 0.0 },
            probabilities: softmax(&sized(seed ^ 1), vocab),
        }
    })
}

impl Case {
    /// The teacher, if there is one, by its probabilities on the GPU.
    pub(super) fn teacher<'a>(&self, probabilities: &'a Buffer) -> Option<Teacher<'a>> {
        let share = self.share;
        (share > 0.0).then_some(Teacher {
            probabilities,
            share,
        })
    }
}

pub(crate) fn test(gpu: &Gpu) {
    for_cases(24, cases(), |case| {
        let [vocab, tokens] = case.sizes;
        let own = upload(gpu, &case.probabilities);
        let losses = output(gpu, tokens);
        let targets = Buffer::from_slice(gpu, "targets", &case.ids).expect("fits");
        let buffers = [&upload(gpu, &case.logits), &targets, &losses];
        let step = step(gpu, buffers, case.teacher(&own), [tokens, vocab]);
        run(gpu, vec![step.expect("valid")]);
        let found = read(gpu, &losses, tokens);
        let expected = reference(&case.logits, &case.ids, (case.share, &case.probabilities));
        // A loss is a difference of numbers as large as the logits.
        let scaled = |values: &[f32]| {
            let values = values.iter().map(|value| value / case.size);
            values.chain([1.0]).collect::<Vec<_>>()
        };
        assert_close(
            "losses",
            &scaled(&expected),
            &scaled(&found),
            tolerance::TRANSCENDENTAL + tolerance::sum(vocab),
        );
    });
}
