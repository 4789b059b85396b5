use super::gate::scores;
use super::{assert_close, assert_close_to, for_cases, numbers, output, read, run, tolerance};
use super::{tokens, upload};
use first_wgpu::gpu::Gpu;
use first_wgpu::kernels::gate::STRIDE;
use first_wgpu::kernels::gate_backward::{self, GateBackward};
use first_wgpu::reference::{gate::gate, gate_backward::gate_backward as reference};
use proptest::prelude::*;

pub(crate) fn test(gpu: &Gpu) {
    let temperature = prop_oneof![Just(1.0f32), Just(0.1), 0.1..2.0f32];
    let sizes = (tokens(), temperature, any::<u64>());
    for_cases(24, sizes, |(tokens, temperature, seed)| {
        let (tokens, stride) = (*tokens, tokens + 5);
        let p = scores(*seed, tokens, stride, [false; 2]);
        let [own, dg] = [[0, 1], [2, 3]].map(|[from, to]| numbers(seed ^ 4, 4)[from..=to].to_vec());
        let mut gates = vec![f32::NAN; 2 * STRIDE];
        for router in 0..2 {
            let score = gate(&p[router * stride..][..tokens], *temperature, false)[1];
            // A gate in use may be hard: its gradient is that of the soft one, whatever it says itself.
            gates[router * STRIDE..][..3].copy_from_slice(&[own[router], score, dg[router]]);
        }
        let before = numbers(seed ^ 5, 2);
        let (dz, db) = (output(gpu, 2 * stride), upload(gpu, &before));
        let buffers = GateBackward {
            scores: &upload(gpu, &p),
            gates: &upload(gpu, &gates),
            dz: &dz,
            db: &db,
        };
        let step = gate_backward::step(gpu, "gate", buffers, [tokens, stride], *temperature);
        run(gpu, vec![step.expect("valid")]);
        let (dz, db) = (read(gpu, &dz, 2 * stride), read(gpu, &db, 2));
        for router in 0..2 {
            let score = gates[router * STRIDE + 1];
            let p = &p[router * stride..][..tokens];
            let (expected, sum) = reference(p, score, dg[router], *temperature);
            let allowed = tolerance::sum(tokens) + tolerance::TRANSCENDENTAL / temperature;
            let found = &dz[router * stride..][..stride];
            assert_close("dz", &expected, &found[..tokens], allowed);
            assert!(
                found[tokens..].iter().all(|dz| dz.is_nan()),
                "wrote elsewhere"
            );
            let sum = before[router] + sum;
            assert_close_to("db", &[sum], &[db[router]], allowed, sum.abs().max(1.0));
        }
    });
}
