use super::{for_cases, numbers, output, read, run, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::copy;
use first_wgpu::reference::copy::copy as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let fours = prop_oneof![
        Just(1usize),
        Just(1023),
        Just(1024),
        Just(1025),
        1..5000usize
    ];
    for_cases(16, (fours, any::<u64>()), |(fours, seed)| {
        let x = numbers(*seed, 4 * fours);
        let y = output(gpu, x.len());
        let step = copy::step(gpu, [&upload(gpu, &x), &y], x.len()).expect("valid");
        run(gpu, vec![step]);
        let found = read(gpu, &y, x.len());
        assert_eq!(reference(&x), found);
    });
}
