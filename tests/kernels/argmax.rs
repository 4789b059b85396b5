use super::{for_cases, numbers, run, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::argmax;
use first_wgpu::reference::argmax::argmax as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let sizes = prop_oneof![
        Just(1usize),
        Just(7),
        Just(8),
        Just(9),
        Just(127),
        Just(128),
        Just(129),
        1..50_000usize
    ];
    for_cases(24, (sizes, any::<u64>(), 0..4u32), |(vocab, seed, kind)| {
        let mut logits = numbers(*seed, *vocab);
        match kind {
            0 => logits.fill(0.0),
            1 => logits
                .iter_mut()
                .for_each(|logit| *logit = (*logit * 3.0).round() - 1e6),
            2 => logits.iter_mut().for_each(|logit| *logit *= 1e30),
            _ => (),
        }
        let state = Buffer::from_slice(gpu, "state", &[u32::MAX, 41, 0, 0]).expect("fits");
        let step = argmax::step(gpu, &upload(gpu, &logits), &state, *vocab).expect("valid");
        run(gpu, vec![step]);
        assert_eq!(
            state.read_back::<u32>(gpu, 2).expect("reads"),
            [reference(&logits), 42]
        );
    });
}
