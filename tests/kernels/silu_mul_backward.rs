use super::{assert_close, for_cases, numbers, output, read, run, tokens, tolerance, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::silu_mul_backward::{self, SiluMulBackward};
use first_wgpu::reference::{
    silu_mul::silu_mul, silu_mul_backward::silu_mul_backward as reference,
};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let rows = prop_oneof![
        Just(1usize),
        Just(15),
        Just(16),
        Just(17),
        Just(96),
        1..200usize
    ];
    let sizes = (rows, tokens(), 0..3i32, any::<u64>());
    for_cases(24, sizes, |(rows, tokens, size, seed)| {
        let (rows, count) = (*rows, tokens * rows);
        let slots = rows.next_multiple_of(16) * 2;
        let size = 6f32.powi(*size);
        let gate: Vec<f32> = numbers(*seed, count).iter().map(|a| a * size).collect();
        let (up, d) = (numbers(seed ^ 1, count), numbers(seed ^ 2, count));
        // Row order `halves`; what padding holds must not matter.
        let join = |gate: &[f32], up: &[f32], padding: f32| {
            let mut joint = vec![padding; tokens * slots];
            for index in 0..count {
                let (token, row) = (index / rows, index % rows);
                let slot = token * slots + row / 16 * 32 + row % 16;
                (joint[slot], joint[slot + 16]) = (gate[index], up[index]);
            }
            joint
        };
        let [y, dgate_up] = [count, tokens * slots].map(|count| output(gpu, count));
        let buffers = SiluMulBackward {
            gate_up: &upload(gpu, &join(&gate, &up, f32::NAN)),
            dy: &upload(gpu, &d),
            gate: &upload(gpu, &[0.75]),
            y: &y,
            dgate_up: &dgate_up,
        };
        let step = silu_mul_backward::step(gpu, "swiglu", buffers, [*tokens, rows]);
        run(gpu, vec![step.expect("valid")]);
        let gated: Vec<f32> = d.iter().map(|d| 0.75 * d).collect();
        let (dgate, dup) = reference(&gate, &up, &gated);
        let found = read(gpu, &dgate_up, tokens * slots);
        assert_close(
            "dgate_up",
            &join(&dgate, &dup, 0.0),
            &found,
            tolerance::TRANSCENDENTAL,
        );
        let found = read(gpu, &y, count);
        assert_close(
            "y",
            &silu_mul(&gate, &up),
            &found,
            tolerance::TRANSCENDENTAL,
        );
    });
}
