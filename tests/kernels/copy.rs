use super::{for_cases, numbers, output, upload};
use first_wgpu::gpu::{Gpu, Plan};
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
        Plan::new(gpu, vec![step])
            .and_then(|plan| plan.run(gpu))
            .expect("runs");
        let found: Vec<f32> = y.read_back(gpu, x.len()).expect("reads");
        assert_eq!(reference(&x), found);
    });
}
