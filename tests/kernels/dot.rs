use super::{assert_close_to, for_cases, numbers, read, run, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::dot;
use first_wgpu::reference::dot::dot as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let fours = prop_oneof![Just(1usize), Just(127), Just(128), Just(129), 1..5000usize];
    // One workgroup also takes more than eight lanes could.
    let sizes = prop_oneof![4 => (fours, 1..9usize), 1 => Just((600_000, 1))];
    let cases = (sizes, 0..3usize, any::<u64>());
    for_cases(24, cases, |((fours, parts), index, seed)| {
        let (x, y) = (numbers(*seed, 4 * fours), numbers(seed ^ 1, 4 * fours));
        let before = numbers(seed ^ 2, index + parts + 1);
        let sums = upload(gpu, &before);
        let buffers = [&upload(gpu, &x), &upload(gpu, &y), &sums];
        let step = dot::step(gpu, "dot", buffers, 4 * fours, *index, *parts).expect("valid");
        run(gpu, vec![step]);
        let share = 4 * fours.div_ceil(*parts);
        let mut expected = before;
        for ((x, y), sum) in x
            .chunks(share)
            .zip(y.chunks(share))
            .zip(&mut expected[*index..])
        {
            *sum += reference(x, y) as f32;
        }
        let found = read(gpu, &sums, expected.len());
        let size = (share as f32).sqrt();
        assert_close_to("sums", &expected, &found, tolerance::sum(share), size);
    });
}
