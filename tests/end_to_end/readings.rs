//! The reading of a prompt by every layer, in training as it is served.

use super::gradients::{TOKENS, adapter, lora_options, router, slope, slopes_of_adapter, text};
use super::{LAYERS, lesson, load, mean, streams, with_engine};
use first_wgpu::data::Tokens;
use first_wgpu::engine::Engine;
use first_wgpu::mask::{LayerMask, Masking, PrefillReading};
use first_wgpu::model::tiny::TinyOptions;
use first_wgpu::reference::cross_entropy::cross_entropy;
use first_wgpu::reference::router_score::{pool, router_score};
use first_wgpu::router::Router;
use first_wgpu::train::trainer::{Route, Trainer};
use first_wgpu::train::{calibration, masks_at};
use std::ops::ControlFlow;

/// Where every layer reads the prompt, a text's loss is that of an answer decoded behind it, its mask what the engine's
/// router decides, and its gradients are slopes.
pub(super) fn answers_alone() {
    with_engine(|engine| {
        let text = text(engine);
        let Tokens { ids, answer } = &text;
        let mask = LayerMask::parse("1,2.attn,3.mlp", LAYERS).expect("a valid mask");
        let losses = |engine: &Engine, mask: &LayerMask, reading| {
            engine
                .losses(ids, *answer, &Masking::new(mask.clone(), reading))
                .expect("runs")
        };
        let mut decoded = Vec::new();
        let mut keep = |step: usize, logits: &[f32]| {
            decoded.extend(cross_entropy(logits, &[ids[answer + step]], (0.0, &[])));
            Ok(())
        };
        let forced = &ids[*answer..ids.len() - 1];
        engine
            .forced_logits(
                &ids[..*answer],
                &Masking::new(mask.clone(), PrefillReading::Full),
                forced,
                &mut keep,
            )
            .expect("runs");
        let found = losses(engine, &mask, PrefillReading::Full);
        let masked = losses(engine, &mask, PrefillReading::Masked);
        assert_eq!(found.len(), decoded.len());
        for (found, decoded) in found.iter().zip(&decoded) {
            let error = (found - decoded).abs() / decoded.max(1.0);
            assert!(error < 2e-6, "{found} {decoded}");
        }
        let [apart, all] = [&masked, &found].map(|losses| mean(losses));
        assert!((apart / all - 1.0).abs() > 1e-3, "{apart} {all}");

        let reader = || {
            let trainer = Trainer::new(engine, lora_options(), TOKENS, 2.0, 1).expect("fits");
            trainer.with_prefill(PrefillReading::Full).expect("fits")
        };
        let outcome = reader().text(&text, &Route::Fixed(mask.clone()), None);
        let loss = outcome.expect("runs").loss;
        assert!((loss - mean(&found)).abs() < 1e-6, "{loss}");

        // An answer of one token is predicted by the prompt alone.
        let one = Tokens {
            ids: ids.clone(),
            answer: ids.len() - 1,
        };
        let outcome = reader().text(&one, &Route::Fixed(mask.clone()), lesson(1.0, None));
        let alone = engine.losses(
            ids,
            one.answer,
            &Masking::new(mask.clone(), PrefillReading::Full),
        );
        let loss = outcome.expect("runs").loss;
        assert!((loss - mean(&alone.expect("runs"))).abs() < 1e-6, "{loss}");

        let mut trainer = reader();
        let start = adapter(engine, &lora_options(), 0.2);
        trainer
            .begin_with(Some(&router()), Some(&start))
            .expect("fits");
        let path = Route::Fixed(mask);
        trainer.text(&text, &path, lesson(1.0, None)).expect("runs");
        let (_, _, loras) = trainer.gradients().expect("reads");
        let total = |trainer: &mut Trainer<'_>| {
            let outcome = trainer.text(&text, &path, None);
            outcome.expect("runs").loss
        };
        slopes_of_adapter(engine, &loras, &mut |what, squares, at| {
            slope(&mut trainer, &total, &what, squares, at);
        });
    });
    with_engine(|engine| {
        let text = text(engine);
        let router = Router {
            prefill: PrefillReading::Full,
            ..router()
        };
        engine.set_router(&router).expect("fits");
        let prompt = text.prompt();
        let (mask, _) = engine.route(prompt, &router.decision()).expect("runs");
        assert!(!mask.is_full());
        let losses = engine.losses(
            &text.ids,
            text.answer,
            &Masking::new(mask.clone(), PrefillReading::Full),
        );
        let mut trainer = Trainer::new(engine, lora_options(), TOKENS, 2.0, 1)
            .expect("fits")
            .with_prefill(PrefillReading::Full)
            .expect("fits");
        trainer.begin_with(Some(&router), None).expect("fits");
        let outcome = trainer.text(&text, &Route::Routed, None);
        let outcome = outcome.expect("runs");
        assert_eq!(outcome.mask, mask);
        // Of the stream that the full model has.
        let states = streams(engine, prompt);
        assert_eq!(outcome.scores.len(), 2 * LAYERS);
        for (index, score) in outcome.scores.iter().enumerate() {
            let weights = &router.weights[64 * index..][..64];
            let tokens = router_score(
                &states[index / 2],
                weights,
                router.biases[index],
                Some(1e-5),
            );
            let expected = pool(&tokens);
            assert!((score - expected).abs() < 1e-5, "{score} {expected}");
        }
        assert!((outcome.loss - mean(&losses.expect("runs"))).abs() < 1e-6);
        assert_eq!(
            trainer.router().expect("reads").prefill,
            PrefillReading::Full
        );
    });
}

/// Where nothing is skipped, who reads the prompt makes no difference, whatever its length: not to the loss, and not to the
/// gradients.
pub(super) fn readings_of_the_full_model() {
    with_engine(|engine| {
        let start = adapter(engine, &lora_options(), 0.2);
        let ids = text(engine).ids;
        for answer in [1, 6, 7, ids.len() - 1] {
            let text = Tokens {
                ids: ids.clone(),
                answer,
            };
            let [masked, full] = [PrefillReading::Masked, PrefillReading::Full].map(|reading| {
                let trainer = Trainer::new(engine, lora_options(), TOKENS, 2.0, 1).expect("fits");
                let mut trainer = trainer.with_prefill(reading).expect("fits");
                trainer.begin_with(None, Some(&start)).expect("fits");
                let path = Route::Fixed(LayerMask::full(LAYERS));
                let outcome = trainer.text(&text, &path, lesson(1.0, None));
                let (_, _, gradients) = trainer.gradients().expect("reads");
                let of = |layer, target| {
                    let lora = gradients.lora(layer, target).expect("is trained");
                    [lora.a.clone(), lora.b.clone()].concat()
                };
                let targets = gradients.targets().iter();
                let all = targets.flat_map(|target| (0..LAYERS).map(|layer| of(layer, *target)));
                (
                    outcome.expect("runs").loss,
                    all.collect::<Vec<_>>().concat(),
                )
            });
            let error = (masked.0 - full.0).abs();
            assert!(
                error < 1e-6,
                "behind {answer} tokens {}, not {}",
                full.0,
                masked.0
            );
            let squares = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>();
            let apart = masked.1.iter().zip(&full.1).map(|(a, b)| a - b);
            let apart = squares(&apart.collect::<Vec<_>>());
            assert!(
                squares(&masked.1) > 0.0 && apart < 1e-10 * squares(&masked.1),
                "{apart}"
            );
        }
    });
}

/// Answers begin at any token, which bindings cannot in streams of every width.
pub(super) fn narrow_models_are_refused() {
    let tiny = TinyOptions {
        hidden: 96,
        ..TinyOptions::default()
    };
    let engine = load(&tiny, None);
    let trainer = || Trainer::new(&engine, lora_options(), TOKENS, 2.0, 1).expect("fits");
    assert!(trainer().with_prefill(PrefillReading::Masked).is_ok());
    let refused = trainer().with_prefill(PrefillReading::Full).err();
    let message = refused.expect("is refused").to_string();
    assert!(
        message.contains("hidden size of a multiple of 64"),
        "{message}"
    );
}

/// A threshold is said to skip what prompts skip at it, which where every layer reads them one look at each tells.
pub(super) fn calibrated() {
    const THRESHOLDS: [f32; 4] = [0.3, 0.5, 0.6, 0.9];
    with_engine(|engine| {
        let ids = text(engine).ids;
        let prompts = [&ids[..], &ids[1..], &ids[..9]].map(<[u32]>::to_vec);
        for (reading, looks) in [
            (PrefillReading::Masked, THRESHOLDS.len() * prompts.len()),
            (PrefillReading::Full, prompts.len()),
        ] {
            let router = Router {
                prefill: reading,
                ..router()
            };
            engine.set_router(&router).expect("fits");
            let mut looked = 0;
            let mut count = |done: u64, total: u64| {
                looked += 1;
                assert_eq!((done, total), (looked, looks as u64));
                ControlFlow::Continue(())
            };
            let decision = router.decision();
            let masks = masks_at(engine, &prompts, &decision, &THRESHOLDS, &mut count);
            let points = calibration(&engine.summary, &THRESHOLDS, &masks.expect("runs"));
            assert_eq!(looked, looks as u64);
            let mut least = 0f32;
            for (point, threshold) in points.iter().zip(THRESHOLDS) {
                let decision = decision.clone().with_threshold(threshold);
                let rate = |prompt: &Vec<u32>| {
                    let (mask, _) = engine.route(prompt, &decision).expect("runs");
                    engine.summary.skip_rate(&mask)
                };
                let rates: Vec<f64> = prompts.iter().map(rate).collect();
                least = least.max((rates.iter().sum::<f64>() / prompts.len() as f64) as f32);
                assert_eq!((point.threshold, point.skip_rate), (threshold, least));
            }
            assert!(least > 0.0);
        }
    });
}
