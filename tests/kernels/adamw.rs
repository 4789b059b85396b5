use super::{assert_close, assert_close_to, for_cases, numbers, read, run, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::adamw::{self, AdamW, BETAS, EPSILON, Moments};
use first_wgpu::reference::adamw::adamw as reference;
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    // More than a row of workgroups once: 4096 of 64 parameters each.
    let count = prop_oneof![
        Just(1usize),
        Just(63),
        Just(64),
        Just(65),
        Just(270_000),
        1..5000usize
    ];
    for_cases(
        12,
        (count, any::<u64>(), -6..6i32),
        |(count, seed, size)| {
            let mut w = numbers(*seed, *count);
            let [mut m, mut v] = [vec![0.0; *count], vec![0.0; *count]];
            let buffers = [&w, &m, &v].map(|values| upload(gpu, values));
            let g = upload(gpu, &vec![0.0; *count]);
            let size = 10f32.powi(*size);
            for step in 1..=10u32 {
                let gradients: Vec<f32> = numbers(seed ^ u64::from(step), *count)
                    .iter()
                    .map(|g| g * size)
                    .collect();
                g.write(gpu, &gradients);
                let adamw = AdamW {
                    step,
                    scale: 0.5,
                    rate: 0.01,
                    decay: 0.1,
                };
                let [w_buffer, m_buffer, v_buffer] = &buffers;
                let moments = Moments {
                    w: w_buffer,
                    g: &g,
                    m: m_buffer,
                    v: v_buffer,
                };
                let step_of_all = adamw::step(gpu, "adamw", moments, *count, adamw).expect("valid");
                run(gpu, vec![step_of_all]);
                for (index, gradient) in gradients.iter().enumerate() {
                    let before = [w[index], *gradient, m[index], v[index]];
                    let after = reference(
                        before,
                        step,
                        [0.5, 0.01, 0.1],
                        [BETAS[0], BETAS[1], EPSILON],
                    );
                    [w[index], m[index], v[index]] = after;
                }
                let allowed = tolerance::sum(4);
                assert_close_to("w", &w, &read(gpu, w_buffer, *count), allowed, 1.0);
                assert_close("m", &m, &read(gpu, m_buffer, *count), allowed);
                assert_close("v", &v, &read(gpu, v_buffer, *count), allowed);
                let left = read(gpu, &g, *count);
                assert!(left.iter().all(|g| *g == 0.0), "gradients are left over");
            }
        },
    );
}
