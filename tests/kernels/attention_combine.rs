use super::{
    assert_close, for_cases, lora_share::Down, numbers, output, read, run, tolerance, upload,
};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::attention_combine;
use first_wgpu::reference::attention_combine::attention_combine as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let head_dims = proptest::sample::select(vec![4usize, 64, 80, 128]);
    let sizes = (1..12usize, head_dims, 2..17usize, any::<u64>());
    for_cases(24, sizes, |&(heads, head_dim, splits, seed)| {
        let mut parts = numbers(seed, heads * splits * (head_dim + 2));
        for (index, range) in parts.chunks_mut(head_dim + 2).enumerate() {
            range[head_dim] *= 30.0;
            range[head_dim + 1] = 1.0 + range[head_dim + 1].abs();
            // Ranges that no position has come to are empty, but for the first.
            if index % splits > splits / 2 {
                range.fill(0.0);
                range[head_dim] = -1e30;
            }
        }
        let rows = heads * head_dim;
        let buffer = upload(gpu, &parts);
        let expected = reference(&parts, head_dim, splits);
        let allowed = tolerance::sum(splits) + 30.0 * tolerance::TRANSCENDENTAL;
        let sizes = [heads, head_dim, splits];
        let y = output(gpu, rows);
        let step = attention_combine::step(gpu, "combine", [&buffer, &y], sizes, None);
        run(gpu, vec![step.expect("valid")]);
        assert_close("y", &expected, &read(gpu, &y, rows), allowed);
        let down = Down::new(gpu, rows, 8, seed);
        let y = down.with_room(gpu, &vec![f32::NAN; rows], head_dim);
        let step = attention_combine::step(gpu, "combine", [&buffer, &y], sizes, Some(down.next()));
        run(gpu, vec![step.expect("valid")]);
        let found = read(gpu, &y, rows);
        assert_close("y", &expected, &found, allowed);
        down.check(gpu, &y, &found, head_dim, tolerance::sum(head_dim));
    });
}
