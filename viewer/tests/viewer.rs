//! Every registered panel on fixed data, a conversation with the tiny model, and files that are not what
//! they should be.

use eframe::egui::{self, vec2};
use egui_kittest::kittest::{NodeT, Queryable};
use egui_kittest::{Harness, SnapshotResults};
use first_viewer::app::App;
use first_viewer::palette::{self, Palette};
use first_viewer::panels::{Force, PANELS, View, forced};
use first_viewer::session::Session;
use first_viewer::worker::Setup;
use first_wgpu::gpu::Gpu;
use first_wgpu::mask::LayerMask;
use first_wgpu::model::tiny::{TinyOptions, write_tiny};
use first_wgpu::trace::{Dispatch, ModelSummary, Run, Score, SublayerName};
use libtest_mimic::{Arguments, Trial};
use std::time::{Duration, Instant};

const LAYERS: usize = 12;

/// A run as a traced one would be; `seed` moves its numbers.
fn run(prompt: &str, mask: &str, tag: &str, seed: usize) -> Run {
    let mask = LayerMask::parse(mask, LAYERS).expect("a mask");
    let tokens = 9;
    let value = |i: usize| ((i * 7 + seed * 13) % 20) as f32 / 20.0;
    let scores = (0..2 * LAYERS).map(|index| {
        let tokens: Vec<f32> = (0..tokens).map(|token| value(index + 3 * token)).collect();
        Score {
            layer: index / 2,
            sublayer: Some([SublayerName::Attn, SublayerName::Mlp][index % 2]),
            score: tokens.iter().sum::<f32>() / tokens.len() as f32,
            threshold: 0.5,
            tokens,
        }
    });
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
        adapter: Default::default(),
        prompt: prompt.to_owned(),
        prompt_ids: (0..tokens as u32).collect(),
        prompt_pieces: (0..tokens).map(|token| format!("piece{token}")).collect(),
        answer_ids: vec![1, 2, 3 + seed as u32, 4],
        answer: format!("An answer, number {seed}."),
        policy: "routed".to_owned(),
        mask,
        scores: scores.collect(),
        sampling: Default::default(),
        ttft_nanos: 180_000_000,
        token_nanos: vec![31_000_000, 30_000_000 + 1_000_000 * seed as u64, 33_000_000],
        kv_bytes: 900_000,
        kv_bytes_full: 1_000_000,
        decode_dispatches: 36,
        prefill_dispatches: 90,
        detail: Default::default(),
        dispatches: (0..3 * 3 * LAYERS).map(dispatch).collect(),
        submissions: Vec::new(),
        dropped_timestamps: 0,
        tag: Some(tag.to_owned()),
    }
}

fn fixed() -> Session {
    Session {
        runs: vec![
            run("What is 3 x 12 - 7?", "5.attn,7", "math", 1),
            run("And 4 x 12?", "5.attn,8", "math", 2),
            run(
                "Translate: the weather is nice.",
                "2,9.mlp,11.attn",
                "translation",
                3,
            ),
        ],
    }
}

fn view(session: &Session) -> View<'_> {
    View {
        runs: &session.runs,
        selected: 2,
        other: 0,
        forces: &[],
        width: 880.0,
        palette: Palette::LIGHT,
    }
}

fn main() {
    let anywhere: &[(&str, fn())] = &[
        (
            "every_panel_exports_and_survives_an_empty_run",
            every_panel_exports,
        ),
        (
            "two_thousand_runs_of_eighty_layers_make_a_figure",
            many_runs,
        ),
        ("wishes_win_over_the_policy", wishes_win_over_the_policy),
        (
            "a_session_comes_back_as_it_was_and_bad_ones_are_refused",
            sessions,
        ),
        (
            "a_model_that_is_not_there_is_a_message_and_the_session_stays",
            missing_model,
        ),
    ];
    let on_a_gpu: &[(&str, fn())] = &[
        ("every_panel_looks_as_it_did", every_panel_looks_as_it_did),
        (
            "a_prompt_runs_a_layer_is_switched_off_and_the_mask_changes",
            conversation,
        ),
    ];
    // Without an adapter these are listed as ignored, never as passed.
    let ignored = Gpu::list().is_empty();
    let trial = |(name, test): &(&'static str, fn())| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    };
    let mut trials: Vec<Trial> = anywhere.iter().map(trial).collect();
    trials.extend(on_a_gpu.iter().map(trial).map(|trial| match ignored {
        true => trial.with_ignored_flag(true).with_kind("no GPU adapter"),
        false => trial,
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn every_panel_looks_as_it_did() {
    let session = fixed();
    let mut results = SnapshotResults::new();
    for theme in [egui::Theme::Light, egui::Theme::Dark] {
        for panel in &PANELS {
            let dark = theme == egui::Theme::Dark;
            let view = View {
                palette: Palette::of(dark),
                ..view(&session)
            };
            let figure = (panel.figure)(&view);
            let mut styled = false;
            let show = |ui: &mut egui::Ui| {
                if !std::mem::replace(&mut styled, true) {
                    palette::style(ui.ctx());
                }
                egui::CentralPanel::default().show(ui, |ui| figure.show(ui, panel.title));
            };
            let size = vec2(900.0, 360.0);
            let harness = Harness::builder().with_size(size).with_theme(theme).wgpu();
            let mut harness = harness.build_ui(show);
            harness.run();
            harness.get_by_label(panel.title);
            let suffix = if dark { "dark" } else { "light" };
            harness.snapshot(format!("{}_{suffix}", panel.name));
            results.extend_harness(&mut harness);
        }
    }
}

fn every_panel_exports() {
    let mut session = fixed();
    for panel in &PANELS {
        let table = (panel.table)(&view(&session));
        assert!(!table.rows.is_empty(), "{}", panel.name);
        assert!(
            table
                .rows
                .iter()
                .all(|row| row.len() == table.columns.len())
        );
        assert!(
            (panel.figure)(&view(&session))
                .svg(&Palette::DARK)
                .ends_with("</svg>\n")
        );
    }
    for run in &mut session.runs {
        run.scores.clear();
        run.dispatches.clear();
        run.answer_ids.clear();
        run.token_nanos.clear();
    }
    for panel in &PANELS {
        assert!(
            !(panel.figure)(&view(&session)).labels.is_empty(),
            "{}",
            panel.name
        );
        (panel.table)(&view(&session));
    }
}

/// Only what is visible is drawn, so that a long list of runs costs what a short one does.
fn many_runs() {
    let mask = LayerMask::parse("3,7.attn", 80).expect("a mask");
    let mut one = fixed().runs.remove(0);
    one.mask = mask;
    one.scores.clear();
    one.dispatches.clear();
    let session = Session {
        runs: vec![one; 2000],
    };
    let masks = PANELS
        .iter()
        .find(|panel| panel.name == "masks")
        .expect("registered");
    let figure = (masks.figure)(&view(&session));
    assert!(figure.cells.len() >= 2000 * 160);
}

fn wishes_win_over_the_policy() {
    let mask = LayerMask::parse("1", 3).expect("a mask");
    let mut forces = vec![Force::Policy; 6];
    (forces[0], forces[2]) = (Force::Off, Force::On);
    assert_eq!(forced(&mask, &forces).to_string(), "0.attn,1.mlp");
    assert_eq!(forced(&mask, &[]), mask);
    assert_eq!(Force::Policy.next().next().next(), Force::Policy);
}

fn sessions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("session.json");
    let session = fixed();
    session.save(&path).expect("saved");
    assert_eq!(Session::load(&path).expect("loads"), session);
    first_wgpu::trace::write(&path, &session.runs).expect("written");
    assert_eq!(Session::load(&path).expect("a trace loads"), session);
    session.save(&path).expect("saved");
    let good = std::fs::read_to_string(&path).expect("readable");
    let future = good.replacen("\"version\":1", "\"version\":9", 1);
    let torn = good[..good.len() / 2].to_owned();
    let lying = good.replacen("\"layers\":12", "\"layers\":11", 1);
    for (bad, needle) in [
        (future, "version 9"),
        (torn, "EOF"),
        (lying, "contradicts"),
        (String::new(), "no session"),
    ] {
        std::fs::write(&path, bad).expect("written");
        let error = Session::load(&path).expect_err("refused").to_string();
        assert!(
            error.contains(needle) && error.contains(';'),
            "{needle}: {error}"
        );
    }
}

/// Steps until something holds; a model runs on another thread.
fn until(harness: &mut Harness<'_, App>, what: &str, holds: impl Fn(&Harness<'_, App>) -> bool) {
    let clock = Instant::now();
    while !holds(harness) {
        assert!(
            clock.elapsed() < Duration::from_secs(60),
            "{what} did not happen"
        );
        harness.step();
        std::thread::yield_now();
    }
}

fn conversation() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    let options = TinyOptions {
        tied: false,
        ..Default::default()
    };
    write_tiny(&model, &options).expect("written");
    let setup = Setup {
        model: Some(model),
        ..Default::default()
    };
    let app = |ui: &mut egui::Ui, app: &mut App| app.show(ui);
    let size = vec2(1240.0, 800.0);
    let context = egui::Context::default();
    let state = App::new(&context, Session::default(), Some(setup));
    // What a random model says is in no font.
    let builder = Harness::builder().allow_missing_glyphs();
    let mut harness = builder.with_size(size).build_ui_state(app, state);
    until(&mut harness, "loading", |harness| {
        !harness.get_by_label("Run").accesskit_node().is_disabled()
    });
    harness.get_by_label("Run").click();
    until(&mut harness, "the first run", |harness| {
        harness.state().session().runs.len() == 1
    });
    harness.step();
    harness.get_by_label("force a sublayer").click();
    harness.step();
    harness.step();
    harness.get_by_label("L01 attn: as decided").click();
    harness.step();
    harness.step();
    harness.get_by_label("Run with this mask").click();
    until(&mut harness, "the second run", |harness| {
        harness.state().session().runs.len() == 2
    });
    let runs = &harness.state().session().runs;
    assert!(runs[0].mask.is_full());
    assert_eq!(runs[1].mask.to_string(), "1.attn");
    assert_ne!(runs[0].answer_ids, runs[1].answer_ids);
}

fn missing_model() {
    let setup = Setup {
        model: Some("nowhere.gguf".into()),
        ..Default::default()
    };
    let app = |ui: &mut egui::Ui, app: &mut App| app.show(ui);
    let state = App::new(&egui::Context::default(), fixed(), Some(setup));
    let mut harness = Harness::builder()
        .with_size(vec2(1240.0, 800.0))
        .build_ui_state(app, state);
    until(&mut harness, "the message", |harness| {
        harness.query_by_label_contains("nowhere.gguf").is_some()
    });
    assert_eq!(harness.state().session(), &fixed());
}
