//! `first eval`: controls skip as much as the router, what was measured is not measured again, and a fixed mask
//! is the model with those layers removed.

use super::{LAYERS, PROMPT, mean, random_router, saved};
use first_wgpu::data::Tokens;
use first_wgpu::engine::{Engine, LoadOptions};
use first_wgpu::error::Error;
use first_wgpu::eval::controls::Control;
use first_wgpu::eval::meter::Meter;
use first_wgpu::eval::report::Report;
use first_wgpu::eval::{Adapter, Candidate, EvalPlan, Item, Masks, Row, adapters_of, run};
use first_wgpu::gpu::{Buffer, Gpu};
use first_wgpu::journal::{Journal, Subject};
use first_wgpu::mask::{LayerMask, Masking, PrefillReading};
use first_wgpu::model::llama::Llama;
use first_wgpu::model::source::Source;
use first_wgpu::model::tiny::{TinyOptions, write_tiny};
use first_wgpu::router::{Granularity, Router};
use first_wgpu::weights::gguf::Gguf;
use first_wgpu::weights::names;
use first_wgpu::weights::pack::{Linear, Order};
use std::ops::ControlFlow;
use std::path::Path;

/// Answers of two tasks; of one of them, what the model answers is scored.
fn items(engine: &Engine, texts: [&str; 4]) -> Vec<Item> {
    let item = |(index, text): (usize, &str)| {
        let ids = engine.prompt_ids(text, true).expect("valid");
        Item {
            task: ["chat", "qa"][index % 2].to_owned(),
            tokens: Tokens {
                answer: ids.len() - 6,
                ids,
            },
            reference: "hello".to_owned(),
        }
    };
    texts.into_iter().enumerate().map(item).collect()
}

pub(super) fn load(model: &Path, adapter: bool) -> Engine {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lora");
    let options = LoadOptions {
        model: model.to_owned(),
        adapter: adapter.then_some(golden),
        ..LoadOptions::default()
    };
    super::open(&options)
}

pub(super) fn plan(engine: &Engine, adapters: &[Adapter]) -> EvalPlan {
    let router = random_router(Granularity::Sublayer, PrefillReading::Masked);
    // Low enough that most sublayers run.
    let decision = router.decision().with_threshold(0.4);
    let policies = [
        ("none", Masks::Fixed(LayerMask::full(LAYERS))),
        ("routed", Masks::Routed(Box::new(router), decision)),
    ];
    let candidates = policies.into_iter().flat_map(|(policy, masks)| {
        adapters_of(policy, adapters, false).map(move |adapter| Candidate {
            policy: policy.to_owned(),
            masks: masks.clone(),
            prefill: PrefillReading::Masked,
            adapter,
        })
    });
    let candidates: Vec<Candidate> = candidates.collect();
    let lead = candidates.iter().position(|one| one.policy == "routed");
    let held_out = [
        PROMPT,
        "an the on user 0123456789",
        "in the sun",
        "hello hello ant",
    ];
    let searched = [
        "the ant on the user",
        "us and the sun 123",
        "a llama",
        "in an inn, on and on",
    ];
    EvalPlan {
        items: items(engine, held_out),
        calibration: items(engine, searched),
        candidates,
        leads: lead.into_iter().collect(),
        controls: vec![
            Control::Random,
            Control::Even,
            Control::BlockInfluence,
            Control::Greedy,
            Control::PerTask,
        ],
        tuned: false,
        seeds: 3,
        answer_tokens: Some(4),
    }
}

/// Runs the plan on a fresh engine; `most` measurements, then it is interrupted.
fn measured(model: &Path, journal: Journal, most: u64) -> Result<Vec<Row>, Error> {
    let adapters = [Adapter {
        name: "lora".to_owned(),
        digest: "lora".to_owned(),
        policy: None,
    }];
    let plan = plan(&load(model, false), &adapters);
    plan_measured(model, &plan, &adapters, journal, most)
}

pub(super) fn plan_measured(
    model: &Path,
    plan: &EvalPlan,
    adapters: &[Adapter],
    journal: Journal,
    most: u64,
) -> Result<Vec<Row>, Error> {
    let engine = load(model, false);
    let mut reload = |engine: Engine, adapter: Option<usize>| {
        drop(engine);
        Ok(load(model, adapter.is_some()))
    };
    let mut meter = Meter::new(engine, &mut reload, adapters, journal);
    let mut go_on = |_, _| ControlFlow::Continue(());
    run(&mut meter, plan, &mut go_on, &mut |done, _| {
        if done < most {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })
}

pub(super) fn summed_up(engine: &Engine, items: &[Item], rows: Vec<Row>) -> Report {
    let (summary, device) = (engine.summary.clone(), engine.gpu.summary.clone());
    Report::new(summary, device, items, rows, 1).expect("sums up")
}

pub(super) fn measured_once_at_one_rate() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::default()).expect("written");
    let rows = measured(&model, Journal::default(), u64::MAX).expect("measures");
    let engine = load(&model, false);
    let summary = engine.summary.clone();

    // none, routed and five controls, each without and with the adapter.
    assert_eq!(rows.len(), 14);
    let rate = |row: &Row| {
        row.answers.iter().map(|answer| answer.skipped).sum::<f64>() / row.answers.len() as f64
    };
    let find = |policy: &str, adapter: Option<&str>| {
        let found = rows
            .iter()
            .find(|row| row.policy == policy && row.adapter.as_deref() == adapter);
        found.unwrap_or_else(|| panic!("no row of {policy}, {adapter:?}"))
    };
    let routed = rate(find("routed", None));
    let attention = LayerMask::parse("0.attn", LAYERS).expect("valid");
    let attention = summary.skip_rate(&attention);
    assert!(routed > attention, "{routed}");
    for control in ["random", "even", "block-influence", "greedy", "per-task"] {
        for adapter in [None, Some("lora")] {
            let row = find(control, adapter);
            let off = (rate(row) - routed).abs();
            assert!(
                off <= 0.5 * attention + 1e-9,
                "{control}: {} and {routed}",
                rate(row)
            );
        }
    }
    assert_ne!(
        find("none", None).answers[0].loss,
        find("none", Some("lora")).answers[0].loss
    );

    let items = plan(&engine, &[]).items;
    let report = summed_up(&engine, &items, rows.clone());
    let of = |policy: &str| {
        let found = report
            .summaries
            .iter()
            .find(|one| one.policy == policy && one.adapter.is_none());
        found.unwrap_or_else(|| panic!("no summary of {policy}"))
    };
    assert!(of("none").against_none.is_none() && of("even").against_none.is_some());
    assert_eq!(of("routed").distances.len(), 3);
    assert_eq!(of("routed").tasks[1].scores.len(), 2);
    assert!(of("routed").tasks[0].scores.is_empty());
    let table = report.markdown();
    assert!(
        table.contains("| per-task | lora |") && table.contains("qa, F1"),
        "{table}"
    );
    assert!(!table.contains("NaN") && !report.svg().contains("NaN"));
    let mut silent = rows.clone();
    for answer in silent.iter_mut().flat_map(|row| &mut row.answers) {
        answer.answers.clear();
    }
    silent[0].policy = "silent".to_owned();
    let silent = summed_up(&engine, &items, silent);
    saved::says_the_same(folder.path(), &report, &silent);
    // A line for each row and all tasks, and for each row and each task.
    assert_eq!(report.csv().lines().count(), 1 + 14 * 3);

    // Broken off in the middle and begun again, it gives the same, and keeps what it had.
    let path = folder.path().join("journal.jsonl");
    let open = || Journal::open(&path, Subject::default()).expect("opens");
    let broken = measured(&model, open(), 25);
    assert!(matches!(broken, Err(Error::Cancelled)), "{broken:?}");
    let before = std::fs::read_to_string(&path).expect("is there");
    assert_eq!(measured(&model, open(), u64::MAX).expect("goes on"), rows);
    let after = std::fs::read_to_string(&path).expect("is there");
    assert!(after.len() > before.len() && after.starts_with(&before));
    let lines: std::collections::HashSet<_> = after.lines().collect();
    assert_eq!(
        lines.len(),
        after.lines().count(),
        "nothing is measured twice"
    );
}

/// Where every layer reads the prompts, what is measured of an answer under several masks is what each costs alone, interrupted or
/// not.
pub(super) fn prompts_are_shared() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::default()).expect("written");
    let full = PrefillReading::Full;
    let router = random_router(Granularity::Sublayer, full);
    let mut other = router.clone();
    other.weights.reverse();
    let several = ["1.attn", "2.mlp,3"].map(|text| LayerMask::parse(text, LAYERS).expect("valid"));
    let routed = |router: &Router| {
        let decision = router.decision().with_threshold(0.4);
        Masks::Routed(Box::new(router.clone()), decision)
    };
    let adapters = [Adapter {
        name: "lora".to_owned(),
        digest: "lora".to_owned(),
        policy: None,
    }];
    let plan = EvalPlan {
        candidates: [
            ("several", Masks::Several(several.to_vec())),
            ("routed", routed(&router)),
            ("other", routed(&other)),
        ]
        .into_iter()
        .flat_map(|(policy, masks)| {
            [None, Some(0)].map(|adapter| Candidate {
                policy: policy.to_owned(),
                masks: masks.clone(),
                prefill: full,
                adapter,
            })
        })
        .collect(),
        leads: vec![2],
        controls: vec![Control::Greedy],
        answer_tokens: None,
        ..plan(&load(&model, false), &adapters)
    };
    let rows = plan_measured(&model, &plan, &adapters, Journal::default(), u64::MAX);
    let rows = rows.expect("measures");
    assert_eq!(rows.len(), 8);
    let mut masks = std::collections::HashSet::new();
    let mut engines = [false, true].map(|adapter| load(&model, adapter));
    for row in &rows {
        let engine = &mut engines[usize::from(row.adapter.is_some())];
        for (item, answer) in plan.items.iter().zip(&row.answers) {
            let Tokens { ids, answer: first } = &item.tokens;
            let router = match row.policy.as_str() {
                "routed" => Some(&router),
                "other" => Some(&other),
                _ => None,
            };
            if let Some(router) = router {
                engine.set_router(router).expect("fits");
                let decision = router.decision().with_threshold(0.4);
                let (mask, _) = engine.route(&ids[..*first], &decision).expect("runs");
                assert_eq!(answer.masks, [mask.to_string()]);
            }
            let loss = |text: &String| {
                let mask = LayerMask::parse(text, LAYERS).expect("valid");
                let losses = engine
                    .losses(ids, *first, &Masking::new(mask, full))
                    .expect("runs");
                f64::from(mean(&losses) as f32)
            };
            let expected = answer.masks.iter().map(loss).sum::<f64>() / answer.masks.len() as f64;
            assert_eq!(answer.loss, expected, "{}, {:?}", row.policy, answer.masks);
            masks.extend(answer.masks.clone());
        }
    }
    assert!(masks.len() > 4, "{masks:?}");

    // The same text with the next adapter is read anew.
    let one = EvalPlan {
        items: plan.items[..1].to_vec(),
        leads: Vec::new(),
        ..plan.clone()
    };
    let alone = plan_measured(&model, &one, &adapters, Journal::default(), u64::MAX);
    for (alone, row) in alone.expect("measures").iter().zip(&rows) {
        assert_eq!(alone.answers, row.answers[..1], "{}", row.policy);
    }

    let path = folder.path().join("journal.jsonl");
    let open = || Journal::open(&path, Subject::default()).expect("opens");
    for most in [5, 14] {
        let broken = plan_measured(&model, &plan, &adapters, open(), most);
        assert!(matches!(broken, Err(Error::Cancelled)), "{broken:?}");
    }
    let again = plan_measured(&model, &plan, &adapters, open(), u64::MAX);
    assert_eq!(again.expect("goes on"), rows);
}

/// A prompt that every layer reads is read once, whatever masks and rates are measured, and not at all if all is noted.
pub(super) fn prompts_are_read_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::default()).expect("written");
    let whole = plan(&load(&model, false), &[]);
    let of = |several: Vec<Masks>| EvalPlan {
        candidates: several
            .into_iter()
            .map(|masks| Candidate {
                policy: String::new(),
                masks,
                prefill: PrefillReading::Full,
                adapter: None,
            })
            .collect(),
        items: whole.items[..1].to_vec(),
        leads: Vec::new(),
        answer_tokens: None,
        ..whole.clone()
    };
    let submissions = |plan: &EvalPlan, journal: Journal| {
        let mut reload = |engine: Engine, _: Option<usize>| Ok(engine);
        let mut meter = Meter::new(load(&model, false), &mut reload, &[], journal);
        let before = meter.engine().gpu.counters.now().submissions;
        let go_on = &mut |_, _| ControlFlow::Continue(());
        run(&mut meter, plan, go_on, &mut |_, _| {
            ControlFlow::Continue(())
        })
        .expect("measures");
        meter.engine().gpu.counters.now().submissions - before
    };
    let fixed = |text| Masks::Fixed(LayerMask::parse(text, LAYERS).expect("valid"));
    let router = random_router(Granularity::Sublayer, PrefillReading::Full);
    let routed = |threshold| {
        let decision = router.decision().with_threshold(threshold);
        Masks::Routed(Box::new(router.clone()), decision)
    };
    for two in [
        vec![fixed("1.attn"), fixed("2")],
        vec![routed(0.4), routed(0.55)],
    ] {
        let once = submissions(&of(two[..1].to_vec()), Journal::default());
        let path = folder.path().join("journal.jsonl");
        let open = || Journal::open(&path, Subject::default()).expect("opens");
        let twice = submissions(&of(two.clone()), open());
        // Each layer of a prompt is a submission.
        assert!(
            once < twice && twice + LAYERS as u64 <= 2 * once,
            "{once}, {twice}"
        );
        assert_eq!(submissions(&of(two), open()), 0);
    }
}

/// Routers without weights are one mask for all, which is held against routers that it shares a rate with in name.
pub(super) fn one_mask_as_routers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::default()).expect("written");
    let router = random_router(Granularity::Sublayer, PrefillReading::Full);
    let mut one = router.clone();
    one.weights.fill(0.0);
    let of = [
        ("routed@9%", &router),
        ("one@9%", &one),
        ("one@4%", &one),
        ("other@9%", &router),
    ];
    let engine = load(&model, false);
    let plan = EvalPlan {
        candidates: of
            .map(|(policy, router)| Candidate {
                policy: policy.to_owned(),
                masks: Masks::Routed(Box::new(router.clone()), router.decision()),
                prefill: PrefillReading::Full,
                adapter: None,
            })
            .to_vec(),
        leads: Vec::new(),
        answer_tokens: None,
        ..plan(&engine, &[])
    };
    let rows = plan_measured(&model, &plan, &[], Journal::default(), u64::MAX);
    let rows = rows.expect("measures");
    assert_eq!(
        rows.iter().map(|row| row.routed).collect::<Vec<_>>(),
        [true, false, false, true]
    );
    let found = summed_up(&engine, &plan.items, rows).summaries;
    assert!((found[0].skipped - found[1].skipped).abs() > 0.006);
    let against = found.iter().map(|row| {
        let (policy, _) = row.routed_against_it.as_ref()?;
        Some(policy.as_str())
    });
    let first = Some("routed@9%");
    assert_eq!(against.collect::<Vec<_>>(), [None, first, None, first]);
}

/// A model file without one of its layers.
struct Without<'a> {
    gguf: &'a Gguf,
    layer: usize,
}

impl Without<'_> {
    fn name(&self, name: &str) -> String {
        match names::in_layer(name) {
            Some((layer, part)) => {
                names::hf_in_layer(layer + usize::from(layer >= self.layer), part)
            }
            None => name.to_owned(),
        }
    }
}

impl Source for Without<'_> {
    fn total_bytes(&self) -> u64 {
        self.gguf.total_bytes()
    }

    fn linear(&self, gpu: &Gpu, names: &[String], order: Order) -> first_wgpu::Result<Linear> {
        let names: Vec<String> = names.iter().map(|name| self.name(name)).collect();
        self.gguf.linear(gpu, &names, order)
    }

    fn vector(&self, gpu: &Gpu, name: &str) -> first_wgpu::Result<Buffer> {
        self.gguf.vector(gpu, &self.name(name))
    }
}

pub(super) fn a_fixed_mask_is_the_smaller_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tiny.gguf");
    write_tiny(&path, &TinyOptions::default()).expect("written");
    let mut engine = load(&path, false);
    let ids = engine.prompt_ids(PROMPT, true).expect("valid");
    for layer in 0..LAYERS {
        let masked = LayerMask::parse(&layer.to_string(), LAYERS).expect("valid");
        let expected = engine.losses(&ids, 1, &masked.into()).expect("runs");
        let gguf = Gguf::open(&path).expect("opens");
        let mut config = engine.model.config.clone();
        config.layers = LAYERS - 1;
        let source = Without { gguf: &gguf, layer };
        let smaller = Llama::load(&engine.gpu, &source, config, &mut |_, _| ()).expect("loads");
        let whole = std::mem::replace(&mut engine.model, smaller);
        let found = engine
            .losses(&ids, 1, &LayerMask::full(LAYERS - 1).into())
            .expect("runs");
        engine.model = whole;
        assert_eq!(found, expected, "layer {layer}");
    }
}
