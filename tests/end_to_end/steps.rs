//! What a step of training learns from, and what a look at held-out texts says.

use super::gradients::{TOKENS, text, trainer};
use super::resume::run_options;
use super::{lesson, with_engine};
use first_wgpu::data::Tokens;
use first_wgpu::engine::Engine;
use first_wgpu::kernels::gate::Gating;
use first_wgpu::mask::LayerMask;
use first_wgpu::train::checkpoint::Checkpoint;
use first_wgpu::train::run::{Beginning, Keeping, Tasks, evaluate, run};
use first_wgpu::train::schedule::RunOptions;
use first_wgpu::train::trainer::{Route, Trainer};
use std::ops::ControlFlow;

/// Three texts of different losses.
fn texts(engine: &Engine) -> [Tokens; 3] {
    let whole = text(engine);
    [0, 3, 6].map(|first| Tokens {
        ids: whole.ids[first..].to_vec(),
        answer: whole.answer - first - 1,
    })
}

/// Gradients of a batch are the mean of those of its texts, one of each task.
pub(super) fn all_texts() {
    with_engine(|engine| {
        let [a, b, _] = texts(engine);
        let tasks = Tasks::from([
            ("a".to_owned(), vec![a.clone()]),
            ("b".to_owned(), vec![b.clone()]),
        ]);
        let options = RunOptions {
            steps: 1,
            ..run_options()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let keeping = Keeping {
            folder: folder.path(),
            command: "test",
            model_sha256: "tiny",
            checkpoint: 1,
            evaluate: 0,
        };
        let go_on = &mut |_: first_wgpu::train::run::Event<'_>| ControlFlow::Continue(());
        run(
            engine,
            &options,
            [&tasks, &Tasks::new()],
            Beginning::default(),
            keeping,
            go_on,
        )
        .expect("runs");
        let kept = Checkpoint::load(folder.path()).expect("reads");
        let kept = kept.expect("was written").snapshot;

        let lora = options.lora().expect("valid");
        let mut trainer = Trainer::new(engine, lora, TOKENS, options.bias, options.seed)
            .and_then(|trainer| trainer.with_prefill(options.prefill))
            .expect("fits");
        trainer.begin_with(None, None).expect("fits");
        let moment = options
            .moment(0, engine.model.config.layers)
            .expect("valid");
        for text in [&a, &b] {
            let outcome = trainer.text(text, &moment.route, lesson(0.5, moment.pull));
            outcome.expect("runs");
        }
        trainer
            .update(1, moment.rates, options.decay, options.clip)
            .expect("moves");
        let expected = trainer.snapshot().expect("reads");
        // The texts come in the order of their tasks, so that all is the same to the bit.
        assert!(kept == expected, "gradients of another batch");
    });
}

/// The moments of gradients that were scaled down are those of smaller ones.
pub(super) fn clipped() {
    with_engine(|engine| {
        let moved = |most: f32| {
            let mut trainer = trainer(engine);
            let path = Route::Gated(Gating {
                temperature: 0.5,
                hard: false,
            });
            let outcome = trainer.text(&text(engine), &path, lesson(1.0, None));
            outcome.expect("runs");
            let norm = trainer.update(1, [1e-3; 3], 0.0, most).expect("moves");
            (norm, trainer.snapshot().expect("reads").mean)
        };
        let (norm, whole) = moved(f32::MAX);
        let (same, tenth) = moved(0.1 * norm as f32);
        assert_eq!(norm, same, "the norm is that before");
        let largest = whole.iter().fold(0.0f32, |most, mean| most.max(mean.abs()));
        assert!(largest > 0.0);
        for (whole, tenth) in whole.iter().zip(&tenth) {
            assert!(
                (0.1 * whole - tenth).abs() <= 1e-6 * largest,
                "{whole} {tenth}"
            );
        }
    });
}

/// Held-out losses are a mean over tasks, however many texts each has.
pub(super) fn tasks_weigh_alike() {
    with_engine(|engine| {
        let [a, b, c] = texts(engine);
        let mut trainer = trainer(engine);
        let path = Route::Fixed(LayerMask::full(engine.model.config.layers));
        let [one, two, other] = [&a, &b, &c].map(|text| {
            let outcome = trainer.text(text, &path, None);
            outcome.expect("runs").loss
        });
        let tasks = Tasks::from([("a".to_owned(), vec![a, b]), ("b".to_owned(), vec![c])]);
        let line = evaluate(&mut trainer, &tasks, &path, 0).expect("runs");
        let expected = (0.5 * (one + two) + other) / 2.0;
        assert!((line.heldout_loss - expected).abs() < 1e-12, "{line:?}");
        assert!(
            ((one + two + other) / 3.0 - expected).abs() > 1e-6,
            "these tell nothing apart"
        );
    });
}
