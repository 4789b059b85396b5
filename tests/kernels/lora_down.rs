use super::{assert_close_to, for_cases, numbers, output, read, run, tokens, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::lora_down;
use first_wgpu::reference::lora_down::lora_down as reference;
use proptest::prelude::*;

/// Fours of rows of a thin matrix.
pub(crate) fn row_fours() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(1usize),
        Just(8),
        Just(9),
        Just(32),
        Just(33),
        1..150usize
    ]
}

pub(crate) fn test(gpu: &Gpu) {
    let sizes = (tokens(), row_fours(), 1..4usize, any::<u64>());
    for_cases(24, sizes, |(tokens, row_fours, eights, seed)| {
        let (rows, rank) = (4 * row_fours, 8 * eights);
        let (x, m) = (
            numbers(*seed, tokens * rows),
            numbers(seed ^ 1, rows * rank),
        );
        let y = output(gpu, tokens * rank);
        let buffers = [&upload(gpu, &x), &upload(gpu, &m), &y];
        let step = lora_down::step(gpu, "down", buffers, [*tokens, rows, rank], 2.5);
        run(gpu, vec![step.expect("valid")]);
        let expected = reference(&x, &m, rank, 2.5);
        let found = read(gpu, &y, tokens * rank);
        let size = 2.5 * (rows as f32).sqrt();
        assert_close_to("y", &expected, &found, tolerance::sum(rows), size);
    });
}
