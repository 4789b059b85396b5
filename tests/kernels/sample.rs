use super::{assert_close, for_cases, numbers, output, read, run, tolerance, upload};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::kernels::sample;
use first_wgpu::reference::sample::probabilities;
use first_wgpu::trace::Sampling;
use proptest::prelude::*;

/// The token that is drawn, and the weights that it was drawn by.
fn weighed(gpu: &Gpu, logits: &[f32], sampling: &Sampling, position: u32) -> (u32, Vec<f32>) {
    let state = Buffer::from_slice(gpu, "state", &[u32::MAX, position, 0, 0]).expect("fits");
    let weights = output(gpu, logits.len());
    let step = sample::step(
        gpu,
        [&upload(gpu, logits), &weights, &state],
        logits.len(),
        sampling,
    )
    .expect("valid");
    run(gpu, vec![step]);
    let state: Vec<u32> = state.read_back(gpu, 2).expect("reads");
    assert_eq!(state[1], position + 1);
    (state[0], read(gpu, &weights, logits.len()))
}

fn draw(gpu: &Gpu, logits: &[f32], sampling: &Sampling, position: u32) -> u32 {
    weighed(gpu, logits, sampling, position).0
}

pub(crate) fn test(gpu: &Gpu) {
    weights_are_exponentials(gpu);
    drawn_tokens_are_kept_ones(gpu);
    draws_follow_the_probabilities(gpu);
    draws_reach_all_of_a_vocabulary(gpu);
}

/// `exp((logit - max) / temperature)`.
fn weights_are_exponentials(gpu: &Gpu) {
    let logits: Vec<f32> = numbers(3, 999).iter().map(|logit| logit * 8.0).collect();
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    for temperature in [0.3, 1.0, 2.5f32] {
        let sampling = Sampling {
            temperature,
            ..Sampling::default()
        };
        let (_, found) = weighed(gpu, &logits, &sampling, 0);
        let exponent = |logit: &f32| f64::from(logit - most) / f64::from(temperature);
        let expected: Vec<f32> = logits
            .iter()
            .map(|logit| exponent(logit).exp() as f32)
            .collect();
        // An error of an exponent is a relative error of its weight, the largest of which is 1.
        let size = 16.0 / temperature;
        let allowed = tolerance::sum(1) + size * tolerance::TRANSCENDENTAL;
        assert_close("weights", &expected, &found, allowed);
    }
}

fn drawn_tokens_are_kept_ones(gpu: &Gpu) {
    let filters = (0..30u32, 0.05..1.0f32, 0.0..0.5f32, 0.1..3.0f32);
    for_cases(
        24,
        (
            prop_oneof![Just(49_152usize), 1..3000usize],
            any::<u64>(),
            // What a vector has past the last logit is zero, and must not count for more than all of them.
            prop_oneof![Just(0.0f32), Just(-1e3)],
            filters,
        ),
        |(vocab, seed, all, (top_k, top_p, min_p, temperature))| {
            let logits: Vec<f32> = numbers(*seed, *vocab)
                .iter()
                .map(|logit| logit * 8.0 + all)
                .collect();
            let sampling = Sampling {
                temperature: *temperature,
                top_k: *top_k,
                top_p: *top_p,
                min_p: *min_p,
                seed: *seed,
            };
            // Filters a hair wider: a weight at the edge may fall on either side.
            let wider = Sampling {
                top_p: (top_p + 1e-4).min(1.0),
                min_p: (min_p - 1e-5).max(0.0),
                ..sampling.clone()
            };
            let kept = probabilities(&logits, &wider);
            for position in 0..3 {
                let token = draw(gpu, &logits, &sampling, position);
                assert!(kept[token as usize] > 0.0, "token {token} was filtered out");
                assert_eq!(
                    token,
                    draw(gpu, &logits, &sampling, position),
                    "the same draw twice"
                );
            }
        },
    );
}

fn draws_follow_the_probabilities(gpu: &Gpu) {
    let logits = [0.0, 1.0, 2.0, 0.5, -1.0, 1.5];
    let all = Sampling {
        temperature: 1.0,
        seed: 11,
        ..Sampling::default()
    };
    // Each filter alone leaves some tokens out.
    let filters = [
        Sampling {
            temperature: 0.5,
            ..all.clone()
        },
        Sampling {
            top_k: 4,
            ..all.clone()
        },
        Sampling {
            top_p: 0.7,
            ..all.clone()
        },
        Sampling { min_p: 0.3, ..all },
    ];
    for sampling in filters {
        let expected = probabilities(&logits, &sampling);
        let (draws, mut counts) = (400, [0.0; 6]);
        for position in 0..draws {
            counts[draw(gpu, &logits, &sampling, position) as usize] += 1.0;
        }
        for (expected, count) in expected.iter().zip(counts) {
            // Four standard deviations of a binomial share.
            let allowed = 4.0 * (expected * (1.0 - expected) / f64::from(draws)).sqrt();
            let share = count / f64::from(draws);
            let close = (share - expected).abs() <= allowed;
            assert!(close, "{sampling:?}: expected {expected}, drawn {share}");
        }
    }
}

/// Of a vocabulary as real ones are, by the place of a token in what its lane owns, and by the lanes themselves.
fn draws_reach_all_of_a_vocabulary(gpu: &Gpu) {
    const VOCAB: usize = 49_152;
    const LANE: usize = VOCAB / 128;
    let logits: Vec<f32> = numbers(5, VOCAB).iter().map(|logit| logit * 3.0).collect();
    let sampling = Sampling {
        temperature: 1.0,
        seed: 7,
        ..Sampling::default()
    };
    let parts = |id: usize| [id % LANE * 4 / LANE, 4 + id * 4 / VOCAB, 8 + id % 4];
    let mut expected = [0.0; 12];
    for (id, probability) in probabilities(&logits, &sampling).iter().enumerate() {
        for part in parts(id) {
            expected[part] += probability;
        }
    }
    let (draws, mut counts) = (400, [0.0; 12]);
    for position in 0..draws {
        for part in parts(draw(gpu, &logits, &sampling, position) as usize) {
            counts[part] += 1.0;
        }
    }
    for (part, (expected, count)) in expected.iter().zip(counts).enumerate() {
        // Four standard deviations of a binomial share.
        let allowed = 4.0 * (expected * (1.0 - expected) / f64::from(draws)).sqrt();
        let share = count / f64::from(draws);
        let close = (share - expected).abs() <= allowed;
        assert!(close, "part {part}: expected {expected}, drawn {share}");
    }
}
