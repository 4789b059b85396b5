use super::{assert_close, for_cases, numbers, output, read, run, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::fma;
use first_wgpu::reference::fma::fma as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let sizes = (1..4usize, 1..200u32, any::<u64>());
    for_cases(12, sizes, |(groups, turns, seed)| {
        let x = numbers(*seed, 2048 * groups);
        let y = output(gpu, x.len());
        let (buffers, factors) = ([&upload(gpu, &x), &y], [-0.75, 0.5]);
        let step = fma::step(gpu, buffers, x.len(), *turns, factors).expect("valid");
        run(gpu, vec![step]);
        let found = read(gpu, &y, x.len());
        let expected = reference(&x, *turns, factors);
        assert_close("y", &expected, &found, tolerance::sum(*turns as usize));
    });
}
