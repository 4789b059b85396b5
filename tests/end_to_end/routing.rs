//! Which sublayers run: masks, and routers that choose them by the prompt.

use super::{LAYERS, PROMPT, fixed, generate, random_router, request, with_engine};
use first_wgpu::engine::Policy;
use first_wgpu::mask::{LayerMask, PrefillReading, Sublayer};
use first_wgpu::reference::router_score::{pool, router_score};
use first_wgpu::router::Granularity;
use std::ops::ControlFlow;

pub(super) fn masks_are_absent() {
    with_engine(|engine| {
        let full = generate(engine, &request(engine, PROMPT, fixed("")));
        // embed, then 3 dispatches an attention and 2 an MLP, then head and argmax
        assert_eq!(full.decode_dispatches, 1 + 5 * LAYERS as u32 + 2);
        assert_eq!(full.kv_bytes, full.kv_bytes_full);
        for (mask, attn, mlp) in [
            ("1", 1, 1),
            ("0-2", 3, 3),
            ("1.attn", 1, 0),
            ("0.mlp,3.mlp", 0, 2),
            ("1.attn,2", 2, 1),
        ] {
            let masked = generate(engine, &request(engine, PROMPT, fixed(mask)));
            assert_eq!(
                masked.decode_dispatches,
                full.decode_dispatches - 3 * attn - 2 * mlp,
                "decode of {mask}"
            );
            assert_eq!(
                masked.prefill_dispatches,
                full.prefill_dispatches - 4 * attn - 3 * mlp,
                "prefill of {mask}"
            );
            let share = u64::from(LAYERS as u32 - attn);
            assert_eq!(
                masked.kv_bytes * LAYERS as u64,
                full.kv_bytes * share,
                "KV cache of {mask}"
            );
            assert_eq!(masked.mask.to_string(), mask);
        }
    });
}

pub(super) fn router_scores() {
    with_engine(|engine| {
        for granularity in [Granularity::Layer, Granularity::Sublayer] {
            let mut router = random_router(granularity, PrefillReading::Masked);
            let count = granularity.routers_per_layer();
            // Without weights, a layer's routers say the same of every token, and the GPU is not asked.
            router.weights[count * 64..][..count * 64].fill(0.0);
            engine.set_router(&router).expect("fits");
            let run = generate(
                engine,
                &request(engine, PROMPT, Policy::Routed(router.decision())),
            );
            assert_eq!(run.scores.len(), LAYERS * count);
            let fixed = request(engine, PROMPT, Policy::Fixed(run.mask.clone().into()));
            let fixed = generate(engine, &fixed);
            assert_eq!(
                run.prefill_dispatches as usize,
                fixed.prefill_dispatches as usize + LAYERS - 1
            );
            // A layer's score reads the stream that the layers before it left, under the mask so far.
            let mut inputs = Vec::new();
            let mut keep = |_: usize, x: &[f32]| {
                inputs.push(x.to_vec());
                Ok(())
            };
            engine
                .hidden_states(&run.prompt_ids, &run.mask, &mut keep)
                .expect("runs");
            for (index, score) in run.scores.iter().enumerate() {
                let weights = &router.weights[index * 64..][..64];
                let expected = router_score(
                    &inputs[index / count],
                    weights,
                    router.biases[index],
                    Some(1e-5),
                );
                for (expected, found) in expected.iter().zip(&score.tokens) {
                    assert!(
                        (expected - found).abs() < 1e-5,
                        "router {index}: expected {expected}, found {found}"
                    );
                }
                assert_eq!(score.score, pool(&score.tokens));
                let runs = run.mask.runs(
                    score.layer,
                    score.sublayer.map_or(Sublayer::Attn, Into::into),
                );
                assert_eq!(runs, score.score >= score.threshold, "router {index}");
            }
        }
    });
}

pub(super) fn chunks() {
    with_engine(|engine| {
        let router = random_router(Granularity::Sublayer, PrefillReading::Masked);
        engine.set_router(&router).expect("fits");
        let prompt = PROMPT.repeat(3);
        let whole = generate(
            engine,
            &request(engine, &prompt, Policy::Routed(router.decision())),
        );
        assert!(whole.prompt_ids.len() > 96, "the prompt has several chunks");
        for (chunk, attending) in [(32, 512), (512, 32)] {
            engine.model.chunk = chunk;
            engine.model.attending = attending;
            let split = generate(
                engine,
                &request(engine, &prompt, Policy::Routed(router.decision())),
            );
            assert!(
                split.prefill_dispatches > whole.prefill_dispatches,
                "the prompt was split"
            );
            assert_eq!(whole.scores, split.scores);
            assert_eq!(
                (&whole.mask, &whole.answer_ids),
                (&split.mask, &split.answer_ids)
            );
        }
    });
}

pub(super) fn prompts_differ() {
    with_engine(|engine| {
        let mut router = random_router(Granularity::Sublayer, PrefillReading::Masked);
        let prompts = [
            "hello",
            "42 + 17 =",
            "le soleil est là",
            PROMPT,
            "fn main() { }",
            "\t\n\t",
        ];
        // Thresholds at the median score of these prompts, as a calibration would put them.
        engine.set_router(&router).expect("fits");
        let mut scores = vec![Vec::new(); router.thresholds.len()];
        for prompt in prompts {
            let run = generate(
                engine,
                &request(
                    engine,
                    prompt,
                    Policy::Routed(router.decision().with_threshold(0.0)),
                ),
            );
            run.scores
                .iter()
                .enumerate()
                .for_each(|(index, score)| scores[index].push(score.score));
        }
        for (threshold, scores) in router.thresholds.iter_mut().zip(&mut scores) {
            scores.sort_by(f32::total_cmp);
            *threshold = scores[scores.len() / 2];
        }
        let mut masks: Vec<String> = Vec::new();
        for prompt in prompts {
            let run = generate(
                engine,
                &request(engine, prompt, Policy::Routed(router.decision())),
            );
            masks.push(run.mask.to_string());
        }
        masks.sort();
        masks.dedup();
        assert!(masks.len() >= 3, "{masks:?}");
    });
}

pub(super) fn full_prefill() {
    with_engine(|engine| {
        let mut router = random_router(Granularity::Sublayer, PrefillReading::Full);
        router.protected[0] = [true; 2];
        engine.set_router(&router).expect("fits");
        // A threshold above every score skips all that is not protected.
        let decision = router.decision().with_threshold(1.1);
        let run = generate(engine, &request(engine, PROMPT, Policy::Routed(decision)));
        assert_eq!(run.mask.to_string(), "1-3");
        assert_eq!(
            run.kv_bytes * LAYERS as u64,
            run.kv_bytes_full,
            "only the protected layer keeps a cache"
        );
        let mut states = Vec::new();
        let mut keep = |_: usize, x: &[f32]| {
            states.push(x.to_vec());
            Ok(())
        };
        engine
            .hidden_states(&run.prompt_ids, &LayerMask::full(LAYERS), &mut keep)
            .expect("runs");
        for (index, score) in run.scores.iter().enumerate() {
            let expected = router_score(
                &states[index / 2],
                &router.weights[index * 64..][..64],
                router.biases[index],
                Some(1e-5),
            );
            assert!(
                (pool(&expected) - score.score).abs() < 1e-5,
                "layer {} saw a masked stream",
                score.layer
            );
        }
    });
}

/// Of weights that are finite themselves.
pub(super) fn no_numbers() {
    with_engine(|engine| {
        for reading in [PrefillReading::Masked, PrefillReading::Full] {
            let mut router = random_router(Granularity::Sublayer, reading);
            router.weights.fill(f32::MAX);
            engine.set_router(&router).expect("fits");
            let request = request(engine, PROMPT, Policy::Routed(router.decision()));
            let error = engine.generate(&request, &mut |_| ControlFlow::Continue(()));
            let error = error.expect_err("no number").to_string();
            assert!(error.contains("not a number"), "{error}");
        }
    });
}
