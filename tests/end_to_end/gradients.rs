//! Training end to end on the tiny model: its forward pass is the engine's, its gradients are slopes of its loss.

use super::parts::long_text;
use super::{LAYERS, PROMPT, lesson, random_router, with_engine};
use first_wgpu::adapter::{Lora, LoraAdapter, Target};
use first_wgpu::data::Tokens;
use first_wgpu::engine::Engine;
use first_wgpu::kernels::gate::Gating;
use first_wgpu::mask::{LayerMask, PrefillReading};
use first_wgpu::router::{Granularity, Router};
use first_wgpu::train::trainer::{LoraOptions, Pull, Route, Trainer};

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

pub(super) fn trainer(engine: &Engine) -> Trainer<'_> {
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
        let path = Route::Gated(Gating {
            temperature: 0.5,
            hard: false,
        });
        let mut norm_at = |rates| {
            let text = text(engine);
            let outcome = trainer.text(&text, &path, lesson(1.0, Some(PULL)));
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
            let norm = trainer.update(1, rates, 0.0, f32::MAX).expect("moves");
            let error = (norm / expected.sqrt() - 1.0).abs();
            assert!(error < 1e-5, "{rates:?}: {norm} {parts:?}");
            norm
        };
        let some = norm_at([0.0, 1e-30, 0.0]);
        let all = norm_at([1e-30; 3]);
        assert!(all > 1.1 * some, "{all} {some}");
    });
}

/// Without gradients, what decays is the routers' weights alone.
pub(super) fn decay() {
    with_engine(|engine| {
        let mut trainer = trainer(engine);
        trainer.update(1, [0.1; 3], 0.5, 1.0).expect("moves");
        let (before, after) = (router(), trainer.router().expect("reads"));
        for (before, after) in before.weights.iter().zip(&after.weights) {
            let expected = 0.95 * before;
            assert!(
                (after - expected).abs() <= 1e-6 * expected.abs(),
                "{after} of {before}"
            );
        }
        assert_eq!(after.biases, before.biases);
        let own = adapter(engine, &lora_options(), 0.2);
        let trained = trainer.adapter("tiny").expect("reads");
        let target = Target::QProj;
        assert_eq!(
            trained.lora(0, target).map(|lora| &lora.a),
            own.lora(0, target).map(|lora| &lora.a)
        );
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
            let outcome = trainer.text(&text(engine), &Route::Routed, None);
            assert_eq!(&outcome.expect("runs").mask, expected, "{:?}", hard.biases);
        }
    });
}

/// What is protected runs in every text, whatever its router says, and its gate does not learn.
pub(super) fn protected() {
    with_engine(|engine| {
        let mut router = router();
        router.weights.fill(0.0);
        router.biases.fill(-2.0);
        router.protected[1] = [true, false];
        let mut trainer = trainer(engine).protect(&router.protected);
        trainer.begin_with(Some(&router), None).expect("fits");
        let text = text(engine);
        let hard = Route::Gated(Gating {
            temperature: 1.0,
            hard: true,
        });
        let learned = trainer.text(&text, &hard, lesson(1.0, Some(PULL)));
        let learned = learned.expect("runs");
        let expected = LayerMask::parse("0,1.mlp,2-3", LAYERS).expect("a mask");
        assert_eq!(learned.mask, expected);
        assert_eq!(learned.gates, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let rate = engine.summary.skip_rate(&expected);
        assert!((learned.skip - rate).abs() < 1e-6, "{}", learned.skip);
        let (_, biases, _) = trainer.gradients().expect("read");
        let still: Vec<bool> = biases.iter().map(|gradient| *gradient == 0.0).collect();
        let moves = [false, false, true, false, false, false, false, false];
        assert_eq!(still, moves, "{biases:?}");
        let mut loss = |path| trainer.text(&text, &path, None).expect("runs").loss;
        assert_eq!(loss(Route::Routed), loss(Route::Fixed(expected)));
        let kept = trainer.router().expect("read");
        assert_eq!(kept.protected, router.protected);
        trainer.harden(0.0).expect("runs");
        let none = trainer.text(&text, &Route::Routed, None).expect("runs");
        assert!(none.mask.is_full());
    });
}

/// On a fixed path, without what was trained, a text's loss is the engine's; and what went in comes out.
pub(super) fn forward() {
    with_engine(|engine| {
        let text = text(engine);
        for mask in ["", "1,2.attn,3.mlp"] {
            let mask = LayerMask::parse(mask, LAYERS).expect("a valid mask");
            let losses = engine
                .losses(&text.ids, text.answer, &mask.clone().into())
                .expect("runs");
            let expected = super::mean(&losses);
            let options = lora_options();
            let mut trainer = Trainer::new(engine, options, TOKENS, 2.0, 1).expect("fits");
            let path = Route::Fixed(mask.clone());
            let outcome = trainer.text(&text, &path, None).expect("runs");
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
        let text = long_text(engine);
        let mut trainer = trainer(engine);
        let path = Route::Gated(Gating {
            temperature: 0.7,
            hard: false,
        });
        let total = |trainer: &mut Trainer<'_>| {
            let outcome = trainer.text(&text, &path, None).expect("runs");
            let excess = f64::from(PULL.skip) - outcome.skip;
            outcome.loss + f64::from(PULL.weight) * excess * excess
        };
        trainer
            .text(&text, &path, lesson(1.0, Some(PULL)))
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
        let text = long_text(engine);
        let [full, skipping] = ["", "0,2.mlp"].map(|mask| {
            let mask = LayerMask::parse(mask, LAYERS).expect("a valid mask");
            Route::Fixed(mask)
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
            |share: f32, teacher: Option<&LoraAdapter>, student: &LoraAdapter, path: &Route| {
                let mut trainer = Trainer::new(engine, lora_options(), TOKENS, 2.0, 1)
                    .and_then(|trainer| trainer.distil(share, teacher))
                    .expect("fits");
                trainer.begin_with(None, Some(student)).expect("fits");
                trainer.text(&text, path, lesson(1.0, None)).expect("runs");
                trainer
                    .update(1, [0.0, 0.0, 1e-30], 0.0, 1.0)
                    .expect("finite")
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
