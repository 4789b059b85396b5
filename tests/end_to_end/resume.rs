//! Runs of training that are interrupted, and go on bit for bit.

use super::gradients::{TOKENS, adapter, router, text};
use super::{load, with_engine};
use first_wgpu::data::Tokens;
use first_wgpu::engine::Engine;
use first_wgpu::mask::PrefillReading;
use first_wgpu::model::tiny::TinyOptions;
use first_wgpu::router::Router;
use first_wgpu::train::checkpoint::Checkpoint;
use first_wgpu::train::run::{Beginning, Event, Keeping, Tasks, run};
use first_wgpu::train::schedule::{Gates, RunOptions};
use std::ops::ControlFlow;

pub(super) fn run_options() -> RunOptions {
    RunOptions {
        steps: 6,
        batch: 2,
        tokens: TOKENS,
        seed: 3,
        routers_until: 0.5,
        gates: Gates::Annealed,
        skip: 0.2,
        skip_after: 0.3,
        pull: 40.0,
        temperature: [1.0, 0.1],
        router_rate: 1e-3,
        decay: 0.01,
        bias_rate: 0.05,
        bias: 0.1,
        lora_rate: 1e-2,
        rank: 4,
        alpha: 8.0,
        targets: ["q_proj", "v_proj", "down_proj"]
            .map(str::to_owned)
            .to_vec(),
        mask: None,
        prefill: PrefillReading::Masked,
        distil: 0.0,
        begin: None,
        teacher: None,
        clip: 1.0,
    }
}

/// A run lowers its loss; interrupted and gone on with, it ends in the same bits and with the same log. With a teacher, of
/// whom it is told when it goes on.
pub(super) fn resumed() {
    with_engine(|engine| {
        let text = text(engine);
        let other = Tokens {
            ids: text.ids[3..].to_vec(),
            answer: text.answer - 4,
        };
        let tasks = Tasks::from([
            ("a".to_owned(), vec![text.clone(), other.clone()]),
            ("b".to_owned(), vec![other]),
        ]);
        let options = RunOptions {
            distil: 0.5,
            teacher: Some("one".to_owned()),
            ..run_options()
        };
        let teacher = adapter(engine, &options.lora().expect("valid"), 0.2);
        let run_on = |(model_sha256, tasks, held_out): (&str, &Tasks, &Tasks),
                      folder: &std::path::Path,
                      options: &RunOptions,
                      stop: u32| {
            let keeping = Keeping {
                folder,
                command: "test",
                model_sha256,
                checkpoint: 100,
                evaluate: 3,
            };
            let beginning = Beginning {
                teacher: Some(&teacher),
                ..Beginning::default()
            };
            let mut losses = Vec::new();
            let mut listener = |event: Event<'_>| {
                if let Event::Step(line) = event {
                    losses.push(line.loss);
                    if line.step == stop {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            };
            let texts = [tasks, held_out];
            let outcome = run(engine, options, texts, beginning, keeping, &mut listener);
            (outcome.map(|_| ()), losses)
        };
        let run = |folder: &std::path::Path, options: &RunOptions, stop: u32| {
            run_on(("tiny", &tasks, &tasks), folder, options, stop)
        };
        let go = |folder: &std::path::Path, stop: u32| {
            let (outcome, losses) = run(folder, &options, stop);
            assert_eq!(
                outcome.is_err(),
                stop > 0,
                "a run ends early when interrupted"
            );
            losses
        };
        // One mask for all is made hard between the second step and the fourth.
        let one = RunOptions {
            router_rate: 0.0,
            ..options.clone()
        };
        let ends = [&[0][..], &[2, 4, 0]].map(|stops| {
            let folder = tempfile::tempdir().expect("a folder");
            let losses = stops
                .iter()
                .flat_map(|stop| run(folder.path(), &one, *stop).1);
            let losses: Vec<f64> = losses.collect();
            let found = Checkpoint::load(folder.path()).expect("reads");
            (losses, found.expect("was written"))
        });
        assert!(ends[0] == ends[1]);

        let [whole, parts] = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
        let losses = go(whole.path(), 0);
        assert!(losses[5] < losses[0], "{losses:?}");
        let mut resumed = go(parts.path(), 2);
        resumed.extend(go(parts.path(), 4));
        // A look that was due when it was interrupted is made up for.
        resumed.extend(go(parts.path(), 6));
        assert!(go(parts.path(), 0).is_empty());
        assert_eq!(losses, resumed);
        let [a, b] = [&whole, &parts].map(|folder| {
            let found = Checkpoint::load(folder.path()).expect("reads");
            found.expect("was written")
        });
        assert_eq!(a, b);
        assert_eq!(untimed(&whole), untimed(&parts));
        assert_eq!(untimed(&whole).len(), 1 + 6 + 2);
        // A run that ended without looks knows no texts whose look could be missing.
        let blind = tempfile::tempdir().expect("a folder");
        for held_out in [&Tasks::new(), &tasks] {
            let (ended, _) = run_on(("tiny", &tasks, held_out), blind.path(), &options, 0);
            ended.expect("ends");
        }
        assert_eq!(untimed(&blind).len(), 1 + 6);
        let fewer = Tasks::from([("a".to_owned(), tasks["a"].clone())]);
        for (other, what) in [
            (("tiny", &fewer, &tasks), "other texts"),
            (("another", &tasks, &tasks), "other texts"),
            (("tiny", &tasks, &fewer), "other calibration"),
        ] {
            let (refused, _) = run_on(other, parts.path(), &options, 0);
            let error = refused.expect_err(what).to_string();
            assert!(error.contains(what), "{error}");
        }
        let another = RunOptions {
            teacher: Some("another".to_owned()),
            ..options
        };
        let (refused, _) = run(parts.path(), &another, 0);
        let error = refused.expect_err("the teacher is another").to_string();
        assert!(error.contains("another teacher"), "{error}");
    });
}

/// A device that is lost in the middle of a run is an error that says so. The last checkpoint is whole, and another
/// device goes on from it, over steps that are in the log already, to the same end: gates and low-rank updates together,
/// and updates under routers that stay as they are, while every layer reads the prompt.
pub(super) fn a_lost_device_loses_no_checkpoint() {
    let frozen = RunOptions {
        routers_until: 0.0,
        router_rate: 0.0,
        bias_rate: 0.0,
        prefill: PrefillReading::Full,
        ..run_options()
    };
    let reader = Router {
        prefill: PrefillReading::Full,
        ..router()
    };
    for (options, router) in [(run_options(), None), (frozen, Some(&reader))] {
        goes_on_elsewhere(&options, router);
    }
}

fn goes_on_elsewhere(options: &RunOptions, router: Option<&Router>) {
    let load = || load(&TinyOptions::default(), None);
    let go = |engine: &Engine, folder: &std::path::Path, lost_after: u32| {
        let tasks = Tasks::from([("a".to_owned(), vec![text(engine)])]);
        let keeping = Keeping {
            folder,
            command: "test",
            model_sha256: "tiny",
            checkpoint: 2,
            evaluate: 0,
        };
        let beginning = Beginning {
            router,
            ..Beginning::default()
        };
        let mut listener = |event: Event<'_>| {
            if matches!(event, Event::Step(line) if line.step == lost_after) {
                engine.gpu.lose();
            }
            ControlFlow::Continue(())
        };
        let texts = [&tasks, &tasks];
        run(engine, options, texts, beginning, keeping, &mut listener).map(|_| ())
    };
    let [whole, parts] = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
    let kept = |folder: &tempfile::TempDir| {
        let found = Checkpoint::load(folder.path()).expect("reads");
        found.expect("was written")
    };
    let engine = load();
    go(&engine, whole.path(), 0).expect("runs");
    let error = go(&engine, parts.path(), 3).expect_err("the device is gone");
    assert!(error.to_string().contains("the GPU was lost"), "{error}");
    assert_eq!(kept(&parts).step, 2, "the log has a third step");
    go(&load(), parts.path(), 0).expect("goes on");
    assert!(kept(&parts) == kept(&whole), "the same end");
    assert_eq!(untimed(&parts), untimed(&whole));
}

/// The lines of a run's log, but for how long its steps took.
fn untimed(folder: &tempfile::TempDir) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.path().join("training.jsonl"));
    let lines = text.expect("was written");
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        value.as_object_mut().expect("an object").remove("seconds");
        value
    };
    lines.lines().map(line).collect()
}

/// A run whose numbers have no end stops where that is seen first, and keeps the checkpoint before.
pub(super) fn what_diverges_is_not_kept() {
    with_engine(|engine| {
        let tasks = Tasks::from([("a".to_owned(), vec![text(engine)])]);
        for (lora_rate, evaluate, what, kept) in [
            (1e38, 0, "the loss of step 2", Some(1)),
            (1e38, 1, "the loss of held-out texts of step 1", None),
            (1e5, 0, "the gradients of step 3", Some(2)),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let keeping = Keeping {
                folder: folder.path(),
                command: "test",
                model_sha256: "tiny",
                checkpoint: 1,
                evaluate,
            };
            let options = RunOptions {
                lora_rate,
                ..run_options()
            };
            let ended = run(
                engine,
                &options,
                [&tasks, &tasks],
                Beginning::default(),
                keeping,
                &mut |_| ControlFlow::Continue(()),
            );
            let error = ended.map(|_| ()).expect_err(what).to_string();
            let remedy = error.contains("not") && error.contains("; begin again");
            assert!(error.starts_with(what) && remedy, "{error}");
            let found = Checkpoint::load(folder.path()).expect("whole");
            assert_eq!(found.map(|found| found.step), kept, "{what}");
        }
    });
}
