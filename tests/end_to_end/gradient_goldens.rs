//! Losses, all gradients and ten steps of the optimiser against PyTorch in f64 (`scripts/make-gradient-goldens.py`): of
//! soft gates, and of LoRA under a mask of the answer, taught by the full model.

use super::{LAYERS, lesson, load};
use first_wgpu::adapter::{Lora, LoraAdapter, Target};
use first_wgpu::data::Tokens;
use first_wgpu::engine::Engine;
use first_wgpu::kernels::gate::Gating;
use first_wgpu::mask::{LayerMask, PrefillReading};
use first_wgpu::model::tiny::TinyOptions;
use first_wgpu::router::{Granularity, Router};
use first_wgpu::train::trainer::{LoraOptions, Pull, Route, Trainer};
use safetensors::SafeTensors;
use serde::Deserialize;

/// Largest error of any number of a gradient, or of a parameter after ten steps, relative to the largest of its tensor: f32
/// against f64.
const NUMBER: f64 = 1e-5;
/// The same of a loss, a score or a gate.
const LOSS: f64 = 1e-6;

#[derive(Deserialize)]
struct Goldens {
    temperature: f32,
    rate_weight: f32,
    target_rate: f32,
    alpha: f32,
    rank: usize,
    texts: Vec<Text>,
    adamw: AdamW,
    masked: Masked,
}

#[derive(Deserialize)]
struct Masked {
    text: usize,
    mask: String,
    distil: f32,
    cross_entropy: f64,
}

#[derive(Deserialize)]
struct Text {
    ids: Vec<u32>,
    answer: usize,
    cross_entropy: f64,
    scores: Vec<[f64; 2]>,
    gates: Vec<[f64; 2]>,
}

#[derive(Deserialize)]
struct AdamW {
    rates: serde_json::Value,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    text: usize,
    loss: f64,
}

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gradients")
}

/// The numbers of one kind, `parameters` or `gradients.0`: the routers' weights and biases, and the low-rank updates.
struct Numbers {
    weights: Vec<f32>,
    biases: Vec<f32>,
    adapter: LoraAdapter,
}

fn read(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = tensors.tensor(name).expect("a golden tensor");
    bytemuck::pod_collect_to_vec(tensor.data())
}

fn numbers(engine: &Engine, goldens: &Goldens, tensors: &SafeTensors<'_>, kind: &str) -> Numbers {
    let routers = |part: &str| {
        let layer = |layer: usize| read(tensors, &format!("{kind}.layers.{layer}.router.{part}"));
        (0..LAYERS).flat_map(layer).collect()
    };
    Numbers {
        weights: routers("weight"),
        biases: routers("bias"),
        adapter: updates(engine, goldens, tensors, kind),
    }
}

/// The low-rank updates of one kind.
fn updates(
    engine: &Engine,
    goldens: &Goldens,
    tensors: &SafeTensors<'_>,
    kind: &str,
) -> LoraAdapter {
    let lora = |layer: usize, target: Target| {
        let part = target.part();
        let side = |side| {
            read(
                tensors,
                &format!("{kind}.layers.{layer}.{part}.lora_{side}.weight"),
            )
        };
        Lora {
            a: side("A"),
            b: side("B"),
        }
    };
    let Goldens { rank, alpha, .. } = *goldens;
    LoraAdapter::new(
        "tiny",
        &engine.model.config,
        rank,
        alpha,
        &Target::ALL,
        lora,
    )
}

fn router(numbers: &Numbers) -> Router {
    Router {
        granularity: Granularity::Sublayer,
        weights: numbers.weights.clone(),
        biases: numbers.biases.clone(),
        thresholds: vec![0.5; 2 * LAYERS],
        epsilon: Some(1e-5),
        prefill: PrefillReading::Masked,
        protected: vec![[false; 2]; LAYERS],
    }
}

/// Asserts that no number is further off than `tolerance` times the largest expected.
fn close(what: &str, expected: &[f32], found: &[f32], tolerance: f64) {
    assert_eq!(expected.len(), found.len(), "{what}: lengths");
    let scale = expected
        .iter()
        .fold(0f64, |most, x| most.max(f64::from(x.abs())));
    assert!(scale > 0.0, "{what} is all zero");
    let pairs = expected.iter().zip(found);
    let error = pairs
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs())
        // A number that is none is far from everything.
        .fold(0f64, |most, error| if error <= most { most } else { error });
    assert!(
        error <= tolerance * scale,
        "{what}: error {} of {tolerance}",
        error / scale
    );
}

/// Compares routers and updates, tensor by tensor.
fn compare(what: &str, expected: &Numbers, found: &Numbers) {
    let hidden = expected.weights.len() / LAYERS;
    for layer in 0..LAYERS {
        let check = |part: &str, [a, b]: [&[f32]; 2], size: usize| {
            let own = layer * size..(layer + 1) * size;
            let name = format!("{what}, layer {layer}, {part}");
            close(&name, &a[own.clone()], &b[own], NUMBER);
        };
        let [weights, biases] = [
            [&expected.weights, &found.weights],
            [&expected.biases, &found.biases],
        ];
        check("router weights", weights.map(|w| &w[..]), hidden);
        check("router biases", biases.map(|b| &b[..]), 2);
    }
    compare_updates(what, &expected.adapter, &found.adapter);
}

/// Compares low-rank updates, matrix by matrix.
fn compare_updates(what: &str, expected: &LoraAdapter, found: &LoraAdapter) {
    for layer in 0..LAYERS {
        for target in Target::ALL {
            let lora =
                |adapter: &LoraAdapter| adapter.lora(layer, target).expect("adapted").clone();
            let [a, b] = [expected, found].map(lora);
            let name = |side: &str| format!("{what}, layer {layer}, {} {side}", target.name());
            close(&name("A"), &a.a, &b.a, NUMBER);
            close(&name("B"), &a.b, &b.b, NUMBER);
        }
    }
}

pub(super) fn agree() {
    let text = std::fs::read_to_string(folder().join("gradients.json")).expect("committed");
    let goldens: Goldens = serde_json::from_str(&text).expect("as the script wrote it");
    let bytes = std::fs::read(folder().join("gradients.safetensors")).expect("committed");
    let tensors = SafeTensors::deserialize(&bytes).expect("as the script wrote it");
    let engine = &mut load(&TinyOptions::default(), None);
    let first = numbers(engine, &goldens, &tensors, "parameters");
    let lora = LoraOptions {
        rank: goldens.rank,
        alpha: goldens.alpha,
        targets: Target::ALL.to_vec(),
    };
    let new = || Trainer::new(engine, lora.clone(), 128, 2.0, 1);
    let mut trainer = new().expect("fits");
    let begin = |trainer: &mut Trainer<'_>| {
        let router = router(&first);
        trainer
            .begin_with(Some(&router), Some(&first.adapter))
            .expect("fits");
    };
    begin(&mut trainer);
    let path = Route::Gated(Gating {
        temperature: goldens.temperature,
        hard: false,
    });
    let pull = Pull {
        weight: goldens.rate_weight,
        skip: 1.0 - goldens.target_rate,
    };
    let tokens = |text: &Text| Tokens {
        ids: text.ids.clone(),
        answer: text.answer,
    };
    for (index, text) in goldens.texts.iter().enumerate() {
        trainer.clear_gradients();
        let outcome = trainer
            .text(&tokens(text), &path, lesson(1.0, Some(pull)))
            .expect("runs");
        let error = (outcome.loss / text.cross_entropy - 1.0).abs();
        assert!(error <= LOSS, "text {index}: loss off by {error}");
        let flat = |pairs: &[[f64; 2]]| {
            pairs
                .iter()
                .flatten()
                .map(|x| *x as f32)
                .collect::<Vec<_>>()
        };
        close("scores", &flat(&text.scores), &outcome.scores, LOSS);
        close("gates", &flat(&text.gates), &outcome.gates, LOSS);
        let expected = numbers(engine, &goldens, &tensors, &format!("gradients.{index}"));
        let (weights, biases, adapter) = trainer.gradients().expect("reads");
        let found = Numbers {
            weights,
            biases,
            adapter,
        };
        compare(&format!("gradients of text {index}"), &expected, &found);
    }
    trainer.clear_gradients();
    let rate = |name: &str| goldens.adamw.rates[name].as_f64().expect("a rate");
    let rates = ["router.weight", "router.bias", "lora"].map(rate);
    for (index, step) in goldens.adamw.steps.iter().enumerate() {
        let outcome = trainer
            .text(
                &tokens(&goldens.texts[step.text]),
                &path,
                lesson(1.0, Some(pull)),
            )
            .expect("runs");
        let excess = f64::from(pull.skip) - outcome.skip;
        let loss = outcome.loss + f64::from(pull.weight) * excess * excess;
        let error = (loss / step.loss - 1.0).abs();
        assert!(error <= LOSS, "step {index}: loss off by {error}");
        let rates = rates.map(|rate| rate as f32);
        trainer
            .update(index as u32 + 1, rates, 0.0, f32::INFINITY)
            .expect("finite");
    }
    let expected = numbers(engine, &goldens, &tensors, "moved");
    let router = trainer.router().expect("reads");
    let found = Numbers {
        weights: router.weights,
        biases: router.biases,
        adapter: trainer.adapter("tiny").expect("reads"),
    };
    compare("after the steps", &expected, &found);

    let masked = &goldens.masked;
    let mut trainer = new()
        .and_then(|trainer| trainer.with_prefill(PrefillReading::Full))
        .and_then(|trainer| trainer.distil(masked.distil, None))
        .expect("fits");
    begin(&mut trainer);
    let mask = LayerMask::parse(&masked.mask, LAYERS).expect("a valid mask");
    let outcome = trainer
        .text(
            &tokens(&goldens.texts[masked.text]),
            &Route::Fixed(mask),
            lesson(1.0, None),
        )
        .expect("runs");
    let error = (outcome.loss / masked.cross_entropy - 1.0).abs();
    assert!(error <= LOSS, "under a mask: loss off by {error}");
    let expected = updates(engine, &goldens, &tensors, "gradients.masked");
    let (.., found) = trainer.gradients().expect("reads");
    compare_updates("under a mask", &expected, &found);
}
