//! Data that does not change, for panels to show.

use first_viewer::session::{Agreement, Control, Measured, Session};
use first_viewer::training::{Header, Log, Step};
use first_wgpu::mask::{LayerMask, Sublayer};
use first_wgpu::router::CalibrationPoint;
use first_wgpu::trace::{Dispatch, ModelSummary, Run, Score, Submission};

pub(crate) const LAYERS: usize = 12;

/// A run as a traced one would be; `seed` moves its numbers.
pub(crate) fn run(prompt: &str, mask: &str, tag: &str, seed: usize) -> Run {
    let mask = LayerMask::parse(mask, LAYERS).expect("a mask");
    let tokens = 9;
    let value = |i: usize| ((i * 7 + seed * 13) % 20) as f32 / 20.0;
    let score = |index: usize| {
        let (layer, sublayer) = (index / 2, Sublayer::BOTH[index % 2]);
        let least = if mask.runs(layer, sublayer) { 0.5 } else { 0.0 };
        let tokens = (0..tokens).map(|token| least + 0.5 * value(index + 3 * token));
        let tokens: Vec<f32> = tokens.collect();
        Score {
            layer,
            sublayer: Some(sublayer),
            score: tokens.iter().sum::<f32>() / tokens.len() as f32,
            threshold: 0.5,
            tokens,
        }
    };
    let scores = (0..2 * LAYERS).map(score).collect();
    let kernels = [
        ("attn.qkv", "matvec"),
        ("attn.attention", "attention_decode"),
        ("mlp.down", "matvec"),
    ];
    let dispatch = |index: usize| {
        let (part, kernel) = kernels[index % 3];
        let layer = index / 3 % LAYERS;
        Dispatch {
            token: (index / (3 * LAYERS)) as u32 + 1,
            layer: Some(layer),
            label: format!("L{layer:02}.{part}"),
            kernel: kernel.to_owned(),
            start_nanos: 200_000 * index as u64,
            duration_nanos: 100_000 + 1000 * ((index * 37 + seed) % 90) as u64,
            weight_bytes: 345_600,
            flops: 0,
        }
    };
    let submission = |token: u32| Submission {
        token,
        start_nanos: 7_200_000 * u64::from(token - 1),
        encode_nanos: 400_000,
        submit_nanos: 90_000,
        wall_nanos: 7_000_000,
        dispatches: 36,
    };
    Run {
        model: ModelSummary {
            name: "Fixed".to_owned(),
            file: "fixed.gguf".to_owned(),
            layers: LAYERS,
            hidden: 64,
            attn_bytes: vec![500_000; LAYERS],
            mlp_bytes: vec![1_500_000; LAYERS],
            other_bytes: 3_000_000,
        },
        gpu: Default::default(),
        prompt: prompt.to_owned(),
        prompt_ids: (0..tokens as u32)
            .map(|place| {
                if place == 1 {
                    prompt.len() as u32
                } else {
                    place
                }
            })
            .collect(),
        prompt_pieces: (0..tokens).map(|token| format!("piece{token}")).collect(),
        answer_ids: vec![1, 2, 3 + seed as u32, 4],
        answer: format!("An answer to this, number {seed}."),
        policy: "routed".to_owned(),
        mask,
        prefill: Default::default(),
        cached_tokens: 0,
        scores,
        sampling: Default::default(),
        ttft_nanos: 180_000_000,
        token_nanos: vec![31_000_000, 30_000_000 + 1_000_000 * seed as u64, 33_000_000],
        kv_bytes: 900_000,
        kv_bytes_full: 1_000_000,
        decode_dispatches: 36,
        prefill_dispatches: 90,
        detail: Default::default(),
        dispatches: (0..3 * 3 * LAYERS).map(dispatch).collect(),
        submissions: (1..=3).map(submission).collect(),
        dropped_timestamps: 0,
        finish_reason: None,
        tag: Some(tag.to_owned()),
    }
}

fn control(name: &str, mask: &str, loss: f64, tpot: f64) -> Control {
    let wave = |index: usize| ((index * 5 + name.len()) % 7) as f64;
    Control {
        name: name.to_owned(),
        masks: vec![mask.to_owned(); 4],
        skipped: vec![if mask.is_empty() { 0.0 } else { 0.1 }; 4],
        losses: (0..4).map(|index| loss + 0.02 * wave(index)).collect(),
        tokens: vec![10; 4],
        tpot_nanos: (0..5).map(|index| tpot + 1e5 * wave(index)).collect(),
    }
}

fn training() -> Log {
    let step = |index: u64| Step {
        step: 10 * index,
        loss: Some(2.0 + 2.0 / (1.0 + index as f64) + 0.05 * (index % 3) as f64),
        seconds: Some(6.0),
        skip_soft: Some(0.15 * index as f64 / 20.0),
        skip_hard: Some(0.15 * (index / 4) as f64 / 5.0),
        tau: Some(1.0 / (1.0 + index as f64)),
        scores: (0..2 * LAYERS as u64)
            .map(|router| 1.0 - (router * index % 23) as f32 / 23.0)
            .collect(),
        heldout_loss: index
            .is_multiple_of(5)
            .then_some(2.4 + 1.5 / (1.0 + index as f64)),
        heldout_skip: index.is_multiple_of(5).then_some(0.007 * index as f64),
        ..Step::default()
    };
    Log {
        header: Header {
            first_wgpu_training: 1,
            command: "first train joint".to_owned(),
            model: "Fixed".to_owned(),
            layers: LAYERS,
            target: Some(0.1),
            steps: Some(300),
        },
        steps: (1..=20).map(step).collect(),
    }
}

/// Something for every panel.
pub(crate) fn fixed() -> Session {
    let point = |threshold, skip_rate| CalibrationPoint {
        threshold,
        skip_rate,
    };
    let mut full = run("And 4 x 12?", "", "math", 2);
    full.policy = "none".to_owned();
    full.scores.clear();
    full.dispatches.clear();
    let mut again = run("And 4 x 12?", "5.attn,8", "math", 4);
    again.dispatches.clear();
    Session {
        runs: vec![
            run("What is 3 x 12 - 7?", "5.attn,7", "math", 1),
            full,
            again,
            run(
                "Translate: the weather is nice.",
                "2,9.mlp,11.attn",
                "translation",
                3,
            ),
        ],
        calibration: vec![point(0.1, 0.01), point(0.5, 0.1), point(0.9, 0.3)],
        agreements: vec![Agreement {
            run: 3,
            kl: vec![0.02, 0.4, 0.11, 0.003],
            agrees: vec![true, false, true, true],
        }],
        controls: vec![
            control("none", "", 2.5, 30e6),
            control("routed", "5.attn,8", 2.55, 27e6),
            control("fixed", "5.attn,7", 2.6, 27.2e6),
            control("random", "3,9.attn", 3.1, 27.1e6),
            control("even", "4,8.attn", 3.0, 26.9e6),
        ],
        controls_of: Some(Measured {
            model: "Fixed".to_owned(),
            gpu: "a GPU".to_owned(),
        }),
        training: Some(training()),
    }
}
