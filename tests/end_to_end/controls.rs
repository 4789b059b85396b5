//! What `first eval` compares routers with, and that nothing knows the answers it is measured on.

use super::evaluation::{load, plan, plan_measured, summed_up};
use super::{LAYERS, PROMPT, generate, mean, random_router, streams, with_engine};
use first_wgpu::calibrate::block_influence;
use first_wgpu::data::Tokens;
use first_wgpu::engine::{Policy, Request};
use first_wgpu::eval::controls::Control;
use first_wgpu::eval::{Candidate, EvalPlan, Masks, Row};
use first_wgpu::journal::Journal;
use first_wgpu::mask::{LayerMask, Masking, PrefillReading};
use first_wgpu::model::tiny::{TinyOptions, write_tiny};
use first_wgpu::router::Granularity;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// A model whose answers vary with the mask, in a folder.
fn model() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::llama3()).expect("written");
    (folder, model)
}

fn parsed(text: &str) -> LayerMask {
    LayerMask::parse(text, LAYERS).expect("valid")
}

fn row<'a>(rows: &'a [Row], policy: &str) -> &'a Row {
    let found = rows.iter().find(|row| row.policy == policy);
    found.unwrap_or_else(|| panic!("no row of {policy}"))
}

/// Where masks concern the prompt too, routers decide by the prompt alone.
pub(super) fn answers_are_not_known() {
    let (_folder, model) = model();
    let mut engine = load(&model, false);
    let plan = EvalPlan {
        controls: Vec::new(),
        answer_tokens: None,
        ..plan(&engine, &[])
    };
    let rows = plan_measured(&model, &plan, &[], Journal::default(), u64::MAX).expect("measures");
    let router = random_router(Granularity::Sublayer, PrefillReading::Masked);
    let decision = router.decision().with_threshold(0.4);
    engine.set_router(&router).expect("fits");
    let mut helped = false;
    for (item, answer) in plan.items.iter().zip(&row(&rows, "routed").answers) {
        let Tokens { ids, answer: first } = &item.tokens;
        let mask = |ids: &[u32]| engine.route(ids, &decision).expect("runs").0.to_string();
        assert_eq!(answer.masks, [mask(&ids[..*first])]);
        helped |= mask(&ids[..*first]) != mask(ids);
    }
    assert!(helped, "answers that would change no mask tell nothing");
}

/// What is scored is what the model says under the very mask.
pub(super) fn scores_are_of_the_mask() {
    let (_folder, model) = model();
    let mut engine = load(&model, false);
    let plan = EvalPlan {
        controls: vec![Control::Even],
        ..plan(&engine, &[])
    };
    let rows = plan_measured(&model, &plan, &[], Journal::default(), u64::MAX).expect("measures");
    let mut said = std::collections::HashSet::new();
    for (row, item, answer) in rows.iter().flat_map(|row| {
        let pairs = plan.items.iter().zip(&row.answers);
        pairs.map(move |(item, answer)| (row, item, answer))
    }) {
        if item.task != "qa" {
            assert!(answer.answers.is_empty());
            continue;
        }
        let policy = Policy::Fixed(Masking::new(parsed(&answer.masks[0]), row.prefill));
        let ids = item.tokens.prompt().to_vec();
        let request = Request {
            stop_at_end: true,
            ..Request::new(ids, policy, 4)
        };
        engine.reset();
        let expected = generate(&mut engine, &request).answer;
        assert_eq!(
            answer.answers,
            std::slice::from_ref(&expected),
            "{}",
            row.policy
        );
        said.insert(expected);
    }
    assert!(said.len() > 2, "{said:?} are the answers to anything");
    // None of that is the reference.
    let report = summed_up(&engine, &plan.items, rows);
    for summary in &report.summaries {
        let (_, exact) = &summary.tasks[1].scores[0];
        assert_eq!(exact.value, 0.0, "{}", summary.policy);
    }
}

/// A search knows the calibration answers, and those of a task alone where a mask is the task's.
pub(super) fn searched_on_calibration() {
    let (_folder, model) = model();
    let mut whole = plan(&load(&model, false), &[]);
    for item in &mut whole.calibration {
        // From where the texts differ.
        item.tokens.answer = 4;
    }
    let masks = |calibration: &[usize], control: Control| {
        let chosen = calibration
            .iter()
            .map(|index| whole.calibration[*index].clone());
        let plan = EvalPlan {
            calibration: chosen.collect(),
            controls: vec![control],
            answer_tokens: None,
            ..whole.clone()
        };
        let rows = plan_measured(&model, &plan, &[], Journal::default(), u64::MAX);
        let rows = rows.expect("measures");
        let answers = &row(&rows, control.name()).answers;
        answers
            .iter()
            .map(|answer| answer.masks[0].clone())
            .collect::<Vec<_>>()
    };
    // Chats and questions take turns.
    let own = [[0], [1]].map(|calibration| masks(&calibration, Control::Greedy));
    let [chat, qa] = own.map(|masks| {
        assert!(
            masks.iter().all(|mask| *mask == masks[0]),
            "one mask for all"
        );
        masks[0].clone()
    });
    assert_ne!(chat, qa, "the same answers were searched on");
    let by_task = masks(&[0, 1], Control::PerTask);
    assert_eq!(by_task, [&chat, &qa, &chat, &qa].map(String::clone));
}

/// `1 - cos`, the mean over the tokens, of what enters a sublayer and what leaves it.
pub(super) fn block_influences() {
    with_engine(|engine| {
        let ids = engine.prompt_ids(PROMPT, true).expect("valid");
        let text = Tokens { answer: 5, ids };
        let hidden = engine.model.config.hidden;
        let mut progress = |_: u64, _: u64| ControlFlow::Continue(());
        let mut of = |granularity| {
            let texts = std::iter::once(&text);
            block_influence(engine, texts, granularity, &mut progress).expect("runs")
        };
        let [parts, layers] = [Granularity::Sublayer, Granularity::Layer].map(&mut of);
        let mut states = Vec::new();
        let mut keep = |_: usize, _, [before, after]: [&[f32]; 2]| {
            states.push([before.to_vec(), after.to_vec()]);
        };
        engine.sublayer_states(&text.ids, &mut keep).expect("runs");
        // What enters and leaves a layer is what the exact outputs of the goldens are compared with.
        let streams = streams(engine, &text.ids);
        for layer in 0..LAYERS {
            let [attn, mlp] = [&states[2 * layer], &states[2 * layer + 1]];
            assert_eq!(attn[0], streams[layer], "into layer {layer}");
            assert_eq!(attn[1], mlp[0], "within layer {layer}");
            assert_eq!(mlp[1], streams[layer + 1], "out of layer {layer}");
        }
        let turned = |before: &[f32], after: &[f32]| {
            let rows = before.chunks(hidden).zip(after.chunks(hidden));
            let cosines = rows.map(|(a, b)| {
                let dot = |a: &[f32], b: &[f32]| -> f64 {
                    a.iter()
                        .zip(b)
                        .map(|(a, b)| f64::from(*a) * f64::from(*b))
                        .sum()
                };
                dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
            });
            1.0 - cosines.sum::<f64>() / text.ids.len() as f64
        };
        for layer in 0..LAYERS {
            let [attn, mlp] = [&states[2 * layer], &states[2 * layer + 1]];
            let expected = [turned(&attn[0], &attn[1]), turned(&mlp[0], &mlp[1])];
            let whole = turned(&attn[0], &mlp[1]);
            assert!((layers[layer][1] - whole).abs() < 1e-9, "layer {layer}");
            for (found, expected) in parts[layer].iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-9,
                    "layer {layer}: {found} {expected}"
                );
                assert!(expected > 1e-3);
            }
        }
    });
}

/// One mask, of prompt and answer and of the answer alone, in one journal.
pub(super) fn readings_are_noted_apart() {
    let (_folder, model) = model();
    let engine = load(&model, false);
    let readings = [PrefillReading::Masked, PrefillReading::Full];
    let plan = EvalPlan {
        candidates: readings
            .map(|prefill| Candidate {
                policy: format!("{prefill:?}"),
                masks: Masks::Fixed(parsed("1.attn,2")),
                prefill,
                adapter: None,
            })
            .to_vec(),
        leads: Vec::new(),
        answer_tokens: None,
        ..plan(&engine, &[])
    };
    let rows = plan_measured(&model, &plan, &[], Journal::default(), u64::MAX).expect("measures");
    for (row, prefill) in rows.iter().zip(readings) {
        for (item, answer) in plan.items.iter().zip(&row.answers) {
            let Tokens { ids, answer: first } = &item.tokens;
            let losses = engine.losses(ids, *first, &Masking::new(parsed("1.attn,2"), prefill));
            let expected = f64::from(mean(&losses.expect("runs")) as f32);
            assert_eq!(answer.loss, expected, "{prefill:?}");
        }
    }
    assert_ne!(rows[0].answers[0].loss, rows[1].answers[0].loss);
}
