//! Training end to end on the tiny model: its forward pass is the engine's, its gradients are slopes of its loss, and a
//! run that was broken off goes on bit for bit.

use super::{LAYERS, PROMPT, load, random_router, with_engine};
use first_wgpu::adapter::{Lora, LoraAdapter, Target};
use first_wgpu::data::Tokens;
use first_wgpu::engine::Engine;
use first_wgpu::kernels::gate::Gating;
use first_wgpu::mask::LayerMask;
use first_wgpu::model::tiny::TinyOptions;
use first_wgpu::router::{Granularity, PrefillReading, Router};
use first_wgpu::train::checkpoint::Checkpoint;
use first_wgpu::train::run::{Beginning, Event, Keeping, Tasks, run};
use first_wgpu::train::schedule::{Gates, RunOptions};
use first_wgpu::train::trainer::{LoraOptions, Path, Pull, Trainer};
use std::ops::ControlFlow;

pub(super) const TOKENS: usize = 128;
const PULL: Pull = Pull {
    weight: 40.0,
    skip: 0.2,
};

pub(super) fn lora_options() -> LoraOptions {
    LoraOptions {
        rank: 4,
        alpha: 8.0,
        targets: Target::ALL.to_vec(),
    }
}

pub(super) fn text(engine: &Engine) -> Tokens {
    let ids = engine.prompt_ids(PROMPT, true).expect("valid");
    Tokens {
        answer: ids.len() - 9,
        ids,
    }
}

/// Numbers of about `size`, the same every time.
fn numbers(seed: u64, count: usize, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        size * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
    };
    (0..count).map(|_| next()).collect()
}

/// An adapter of random numbers.
pub(super) fn adapter(engine: &Engine, options: &LoraOptions, size: f32) -> LoraAdapter {
    let config = &engine.model.config;
    let &LoraOptions {
        rank,
        alpha,
        ref targets,
    } = options;
    LoraAdapter::new("tiny", config, rank, alpha, targets, |layer, target| {
        let [rows, columns] = target.shape(config);
        let seed = (layer * 16 + target as usize) as u64;
        Lora {
            a: numbers(seed, rank * columns, size),
            b: numbers(seed + 1000, rows * rank, size),
        }
    })
}

/// A router that is of two minds, so that its gates have slopes.
pub(super) fn router() -> Router {
    let mut router = random_router(Granularity::Sublayer, PrefillReading::Masked);
    for weight in &mut router.weights {
        *weight *= 0.3;
    }
    router
}

fn trainer(engine: &Engine) -> Trainer<'_> {
    let mut trainer = Trainer::new(engine, lora_options(), TOKENS, 2.0, 1).expect("fits");
    let (router, adapter) = (router(), adapter(engine, &lora_options(), 0.2));
    trainer
        .begin_with(Some(&router), Some(&adapter))
        .expect("fits");
    trainer
}

/// The norm that gradients are scaled down by is of what moves.
pub(super) fn norms() {
    with_engine(|engine| {
        let mut trainer = trainer(engine);
        let path = Path::Gated(Gating {
            temperature: 0.5,
            hard: false,
        });
        let mut norm_at = |rates| {
            let text = text(engine);
            let outcome = trainer.text(&text, &path, Some(PULL), Some(1.0));
            outcome.expect("runs");
            let (weights, biases, adapter) = trainer.gradients().expect("reads");
            let loras =
                (0..LAYERS).flat_map(|layer| Target::ALL.map(|target| adapter.lora(layer, target)));
            let loras = loras
                .flatten()
                .flat_map(|lora| lora.a.iter().chain(&lora.b));
            let squares = |numbers: &[f32]| numbers.iter().map(|x| f64::from(*x).powi(2)).sum();
            let loras: Vec<f32> = loras.copied().collect();
            let parts: [f64; 3] = [&weights, &biases, &loras].map(|numbers| squares(numbers));
            let expected = parts.iter().zip(rates).filter(|(_, rate)| *rate > 0.0);
            let expected: f64 = expected.map(|(squares, _)| squares).sum();
            let norm = trainer.update(1, rates, f32::MAX).expect("moves");
            let error = (norm / expected.sqrt() - 1.0).abs();
            assert!(error < 1e-5, "{rates:?}: {norm} {parts:?}");
            norm
        };
        let some = norm_at([0.0, 1e-30, 0.0]);
        let all = norm_at([1e-30; 3]);
        assert!(all > 1.1 * some, "{all} {some}");
    });
}

/// One mask for all texts skips what was asked for once it is hard, those of the lowest biases.
pub(super) fn hardened() {
    with_engine(|engine| {
        let mut trainer = trainer(engine);
        let mut router = router();
        router.weights.fill(0.0);
        // The second layer's attention and the third layer's both, lowest first, and none below 0.
        router.biases = vec![0.9, 0.8, 0.1, 0.7, 0.3, 0.2, 0.6, 0.5];
        trainer.begin_with(Some(&router), None).expect("fits");
        let full = LayerMask::full(LAYERS);
        let skips = LayerMask::parse("1.attn,2", LAYERS).expect("a mask");
        let rate = engine.summary.skip_rate(&skips);
        for (asked, expected) in [
            (0.0, &full),
            (rate, &skips),
            (rate + 0.01, &skips),
            (0.0, &full),
        ] {
            trainer.harden(asked as f32).expect("runs");
            let hard = trainer.router().expect("read");
            let outcome = trainer.text(&text(engine), &Path::Routed, None, None);
            assert_eq!(&outcome.expect("runs").mask, expected, "{:?}", hard.biases);
        }
    });
}

/// On a fixed path, without what was trained, a text's loss is the engine's; and what went in comes out.
pub(super) fn forward() {
    with_engine(|engine| {
        let text = text(engine);
        for mask in ["", "1,2.attn,3.mlp"] {
            let mask = LayerMask::parse(mask, LAYERS).expect("a valid mask");
            let losses = engine
                .losses(&text.ids, text.answer, &mask, PrefillReading::Masked)
                .expect("runs");
            let expected = super::mean(&losses);
            let options = lora_options();
            let mut trainer = Trainer::new(engine, options, TOKENS, 2.0, 1).expect("fits");
            let path = Path::Fixed(mask.clone());
            let outcome = trainer.text(&text, &path, None, None).expect("runs");
            assert!(
                (outcome.loss - expected).abs() < 1e-6,
                "{} {expected}",
                outcome.loss
            );
        }
        let mut trainer = trainer(engine);
        let moved = Router {
            thresholds: vec![0.4; 2 * LAYERS],
            ..router()
        };
        trainer
            .begin_with(Some(&moved), None)
            .expect_err("served otherwise than it is trained");
        assert_eq!(trainer.router().expect("reads").weights, router().weights);
        assert_eq!(
            trainer.adapter("tiny").expect("reads"),
            adapter(engine, &lora_options(), 0.2)
        );
    });
}

/// The slope of the loss along a direction, by central differences, against the gradient's own.
pub(super) fn slopes() {
    with_engine(|engine| {
        let text = text(engine);
        let mut trainer = trainer(engine);
        let path = Path::Gated(Gating {
            temperature: 0.7,
            hard: false,
        });
        let total = |trainer: &mut Trainer<'_>| {
            let outcome = trainer.text(&text, &path, None, None).expect("runs");
            let excess = f64::from(PULL.skip) - outcome.skip;
            outcome.loss + f64::from(PULL.weight) * excess * excess
        };
        trainer
            .text(&text, &path, Some(PULL), Some(1.0))
            .expect("runs");
        let (weights, biases, loras) = trainer.gradients().expect("reads");
        // Each router, and each kind of thin matrix in each layer, is one direction: its own gradient.
        let mut slope = |what: String, squares: f64, at: &dyn Fn(f32) -> (Router, LoraAdapter)| {
            slope(&mut trainer, &total, &what, squares, at);
        };
        let first = adapter(engine, &lora_options(), 0.2);
        for index in 0..2 * LAYERS {
            let own = &weights[64 * index..][..64];
            slope(format!("router {index}"), square(own), &|size| {
                let mut router = router();
                for (weight, gradient) in router.weights[64 * index..].iter_mut().zip(own) {
                    *weight += size * gradient;
                }
                (router, first.clone())
            });
            let bias = biases[index];
            slope(format!("bias {index}"), square(&[bias]), &|size| {
                let mut router = router();
                router.biases[index] += size * bias;
                (router, first.clone())
            });
        }
        slopes_of_adapter(engine, &loras, &mut slope);
    });
}

fn square(values: &[f32]) -> f64 {
    values.iter().map(|x| f64::from(*x).powi(2)).sum()
}

/// Hears of a direction: what it is, the square of its gradient, and the parameters that are so far along it.
type Direction<'a> = dyn FnMut(String, f64, &dyn Fn(f32) -> (Router, LoraAdapter)) + 'a;

/// Checks the slope of a loss along a direction.
pub(super) fn slope(
    trainer: &mut Trainer<'_>,
    loss: &dyn Fn(&mut Trainer<'_>) -> f64,
    what: &str,
    squares: f64,
    at: &dyn Fn(f32) -> (Router, LoraAdapter),
) {
    assert!(squares > 0.0, "{what} has no gradient");
    let size = (0.02 / squares.sqrt()) as f32;
    let mut side = |size: f32| {
        let (router, adapter) = at(size);
        trainer
            .begin_with(Some(&router), Some(&adapter))
            .expect("fits");
        loss(trainer)
    };
    let found = (side(size) - side(-size)) / (2.0 * f64::from(size));
    let error = (found / squares - 1.0).abs();
    assert!(error < 5e-3, "{what}: slope {found}, gradient {squares}");
}

/// The directions of low-rank updates, each kind of thin matrix in each layer by itself.
pub(super) fn slopes_of_adapter(
    engine: &Engine,
    gradients: &LoraAdapter,
    slope: &mut Direction<'_>,
) {
    let (config, options) = (&engine.model.config, lora_options());
    let first = adapter(engine, &options, 0.2);
    for layer in 0..LAYERS {
        for target in Target::ALL {
            let own = gradients.lora(layer, target).expect("adapted");
            let moved = |size: [f32; 2]| {
                let targets = &options.targets;
                LoraAdapter::new("tiny", config, 4, options.alpha, targets, |at, which| {
                    let mut lora = first.lora(at, which).expect("adapted").clone();
                    if (at, which) == (layer, target) {
                        for (a, gradient) in lora.a.iter_mut().zip(&own.a) {
                            *a += size[0] * gradient;
                        }
                        for (b, gradient) in lora.b.iter_mut().zip(&own.b) {
                            *b += size[1] * gradient;
                        }
                    }
                    lora
                })
            };
            let name = format!("layer {layer}, {}", target.name());
            slope(format!("{name}, A"), square(&own.a), &|size| {
                (router(), moved([size, 0.0]))
            });
            slope(format!("{name}, B"), square(&own.b), &|size| {
                (router(), moved([0.0, size]))
            });
        }
    }
}

/// A student that is its teacher has nothing to learn from it; one that differs, or that skips, has.
pub(super) fn distilled() {
    with_engine(|engine| {
        let text = text(engine);
        let [full, skipping] = ["", "0,2.mlp"].map(|mask| {
            let mask = LayerMask::parse(mask, LAYERS).expect("a valid mask");
            Path::Fixed(mask)
        });
        let trained = adapter(engine, &lora_options(), 0.2);
        // `B` of zeros changes nothing, but has gradients.
        let config = &engine.model.config;
        let idle = LoraAdapter::new("tiny", config, 4, 8.0, &Target::ALL, |layer, target| {
            let mut lora = trained.lora(layer, target).expect("adapted").clone();
            lora.b.fill(0.0);
            lora
        });
        let norm =
            |share: f32, teacher: Option<&LoraAdapter>, student: &LoraAdapter, path: &Path| {
                let mut trainer = Trainer::new(engine, lora_options(), TOKENS, 2.0, 1)
                    .and_then(|trainer| trainer.distil(share, teacher))
                    .expect("fits");
                trainer.begin_with(None, Some(student)).expect("fits");
                trainer.text(&text, path, None, Some(1.0)).expect("runs");
                trainer.update(1, [0.0, 0.0, 1e-30], 1.0).expect("finite")
            };
        let hard = norm(0.0, None, &idle, &full);
        for (teacher, same, other) in [(None, &idle, &trained), (Some(&trained), &trained, &idle)] {
            let nothing = norm(1.0, teacher, same, &full);
            assert!(nothing < 1e-6 * hard, "{nothing} of {hard}");
            for something in [
                norm(1.0, teacher, other, &full),
                norm(1.0, teacher, same, &skipping),
            ] {
                assert!(something > 100.0 * nothing, "{something}, {nothing}");
            }
        }
    });
}

fn run_options() -> RunOptions {
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

/// A run lowers its loss; broken off and gone on with, it ends in the same bits and with the same log. With a teacher, of
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
        let run = |folder: &std::path::Path, options: &RunOptions, stop: u32| {
            let keeping = Keeping {
                folder,
                command: "test",
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
            let texts = [&tasks, &tasks];
            let outcome = run(engine, options, texts, beginning, keeping, &mut listener);
            (outcome.map(|_| ()), losses)
        };
        let go = |folder: &std::path::Path, stop: u32| {
            let (outcome, losses) = run(folder, &options, stop);
            assert_eq!(
                outcome.is_err(),
                stop > 0,
                "a run ends early when broken off"
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
        resumed.extend(go(parts.path(), 0));
        assert_eq!(losses, resumed);
        let [a, b] = [&whole, &parts].map(|folder| {
            let found = Checkpoint::load(folder.path()).expect("reads");
            found.expect("was written")
        });
        assert_eq!(a, b);
        let untimed = |folder: &tempfile::TempDir| {
            let text = std::fs::read_to_string(folder.path().join("training.jsonl"));
            let lines = text.expect("was written");
            let line = |line: &str| {
                let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
                value.as_object_mut().expect("an object").remove("seconds");
                value
            };
            lines.lines().map(line).collect::<Vec<_>>()
        };
        assert_eq!(untimed(&whole), untimed(&parts));
        assert_eq!(untimed(&whole).len(), 1 + 6 + 2);
        let another = RunOptions {
            teacher: Some("another".to_owned()),
            ..options
        };
        let (refused, _) = run(parts.path(), &another, 0);
        let error = refused.expect_err("the teacher is another").to_string();
        assert!(error.contains("another teacher"), "{error}");
    });
}

/// A device that is lost in the middle of a run is an error that says so; the last checkpoint is whole, and another
/// device goes on from it to the same end.
pub(super) fn a_lost_device_loses_no_checkpoint() {
    let load = || load(&TinyOptions::default(), None);
    let go = |engine: &Engine, folder: &std::path::Path, lost_after: u32| {
        let tasks = Tasks::from([("a".to_owned(), vec![text(engine)])]);
        let keeping = Keeping {
            folder,
            command: "test",
            checkpoint: 1,
            evaluate: 0,
        };
        let beginning = Beginning::default();
        let mut listener = |event: Event<'_>| {
            if matches!(event, Event::Step(line) if line.step == lost_after) {
                engine.gpu.lose();
            }
            ControlFlow::Continue(())
        };
        let texts = [&tasks, &tasks];
        run(
            engine,
            &run_options(),
            texts,
            beginning,
            keeping,
            &mut listener,
        )
        .map(|_| ())
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
    assert!(kept(&parts) != kept(&whole), "it stopped on the way");
    go(&load(), parts.path(), 0).expect("goes on");
    assert!(kept(&parts) == kept(&whole), "the same end");
}
