//! Every registered panel on fixed data.

use crate::fixed::{fixed, run};
use eframe::egui::{self, Rect, vec2};
use eframe::egui_wgpu::WgpuSetup;
use eframe::wgpu::Backends;
use egui_kittest::kittest::Queryable;
use egui_kittest::wgpu::default_wgpu_setup;
use egui_kittest::{Harness, SnapshotResults};
use first_viewer::export::export;
use first_viewer::figure::Figure;
use first_viewer::palette::{self, Palette};
use first_viewer::panels::{PANELS, Panel, State, View, forced};
use first_viewer::session::Session;
use first_wgpu::mask::LayerMask;
use std::time::Instant;

fn state(session: &Session) -> State {
    let mut state = State::default();
    state.select(session.runs.len().saturating_sub(1));
    state
}

fn view<'a>(session: &'a Session, state: &'a State) -> View<'a> {
    View::whole(session, state, 880.0, Palette::LIGHT)
}

fn panel(name: &str) -> &'static Panel {
    let mut panels = PANELS.iter();
    panels.find(|panel| panel.name == name).expect("registered")
}

/// What pictures are drawn with: the backends that the program has, and not OpenGL, whose libraries clean up
/// after a thread as it ends. A test's thread may end while the program does, and both then free the same
/// memory, if rarely.
fn setup() -> WgpuSetup {
    let mut setup = default_wgpu_setup();
    if let WgpuSetup::CreateNew(new) = &mut setup {
        new.instance_descriptor.backends = Backends::PRIMARY;
    }
    setup
}

pub(crate) fn every_panel_looks_as_it_did() {
    let session = fixed();
    let state = state(&session);
    let mut results = SnapshotResults::new();
    for theme in [egui::Theme::Light, egui::Theme::Dark] {
        for panel in &PANELS {
            let dark = theme == egui::Theme::Dark;
            let view = View {
                palette: Palette::of(dark),
                ..view(&session, &state)
            };
            let figure = (panel.figure)(&view);
            let size = figure.size.min(vec2(880.0, 700.0)) + vec2(24.0, 24.0);
            let mut styled = false;
            let show = |ui: &mut egui::Ui| {
                if !std::mem::replace(&mut styled, true) {
                    palette::style(ui.ctx());
                }
                egui::CentralPanel::default().show(ui, |ui| figure.show(ui, panel.title));
            };
            let harness = Harness::builder().with_size(size).with_theme(theme);
            let mut harness = harness.wgpu_setup(setup()).build_ui(show);
            harness.run();
            harness.get_by_label(panel.title);
            let suffix = if dark { "dark" } else { "light" };
            harness.snapshot(format!("{}_{suffix}", panel.name));
            results.extend_harness(&mut harness);
        }
    }
}

pub(crate) fn every_panel_exports() {
    let session = fixed();
    let state = state(&session);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for panel in &PANELS {
        let view = view(&session, &state);
        let table = (panel.table)(&view);
        assert!(!table.rows.is_empty(), "{}", panel.name);
        let columns = table.columns.len();
        assert!(
            table.rows.iter().all(|row| row.len() == columns),
            "{}",
            panel.name
        );
        for (ending, start) in [("svg", "<svg"), ("csv", table.columns[0]), ("json", "[")] {
            let path = folder.path().join(format!("{}.{ending}", panel.name));
            export(panel, &view, &path).expect("written");
            let text = std::fs::read_to_string(&path).expect("readable");
            assert!(text.starts_with(start), "{}: {text:.40}", path.display());
            let caption = "Run 4: Translate: the weather is nice. · routed · Fixed";
            let captioned = ending == "svg" && panel.of_a_run;
            assert_eq!(text.contains(caption), captioned, "{}", path.display());
        }
        if panel.name == "runs" {
            for name in ["model", "gpu"] {
                assert!(table.columns.contains(&name), "{name}");
            }
        }
        let path = folder.path().join(format!("{}.PNG", panel.name));
        export(panel, &view, &path).expect("written");
        let bytes = std::fs::read(&path).expect("readable");
        assert!(
            bytes.starts_with(b"\x89PNG") && bytes.len() > 2000,
            "{}",
            path.display()
        );
        let error = export(panel, &view, &folder.path().join("picture.bmp")).expect_err("refused");
        assert!(error.to_string().contains(".png"), "{error}");
    }
}

pub(crate) fn panels_survive_what_is_not_there() {
    let mut bare = fixed();
    for run in &mut bare.runs {
        run.scores.clear();
        run.dispatches.clear();
        run.submissions.clear();
        run.answer_ids.clear();
        run.token_nanos.clear();
        run.answer.clear();
    }
    for session in [Session::default(), bare] {
        let state = state(&session);
        for panel in &PANELS {
            let figure = (panel.figure)(&view(&session, &state));
            assert!(!figure.labels.is_empty(), "{}", panel.name);
            (panel.table)(&view(&session, &state));
        }
    }
}

/// Answers of one token and of two have no time per token, or no interval of it.
pub(crate) fn nothing_measured_is_not_a_number() {
    let mut session = fixed();
    for (index, run) in session.runs.iter_mut().enumerate() {
        run.token_nanos.truncate(index % 2);
        run.dispatches.truncate(1);
    }
    session.agreements[0].kl.clear();
    session.agreements[0].agrees.clear();
    for control in &mut session.controls {
        control.tpot_nanos.clear();
    }
    for selected in 0..session.runs.len() {
        let mut state = State::default();
        state.look_at(selected, 0);
        for panel in &PANELS {
            let view = view(&session, &state);
            let figure = (panel.figure)(&view);
            let tips = figure.cells.iter().map(|cell| &cell.tip);
            for text in figure.labels.iter().map(|label| &label.text).chain(tips) {
                assert!(!text.contains("NaN"), "{}: {text}", panel.name);
            }
            let csv = (panel.table)(&view).csv();
            assert!(!csv.contains("NaN"), "{}: {csv}", panel.name);
        }
    }
}

/// What is drawn at a place of the scrolled window.
fn drawn(panel: &Panel, session: &Session, state: &State, top: f32) -> Figure {
    let visible = Rect::from_min_size(egui::pos2(0.0, top), vec2(880.0, 700.0));
    let view = View {
        visible,
        ..view(session, state)
    };
    (panel.figure)(&view)
}

/// Only what is visible is drawn, so that a long set costs what a short one does.
pub(crate) fn two_thousand_runs_of_eighty_layers() {
    let mut runs = Vec::new();
    for index in 0..2000usize {
        let mut one = run("How many?", "", ["a", "b", "c"][index % 3], 1);
        let skipped = format!("{},{}.attn", 2 + index % 70, 3 + index / 7 % 70);
        one.mask = LayerMask::parse(&skipped, 80).expect("a mask");
        one.prompt_ids[1] = index as u32;
        (one.model.layers, one.model.attn_bytes) = (80, vec![1; 80]);
        one.model.mlp_bytes = vec![3; 80];
        one.scores.clear();
        one.dispatches.clear();
        runs.push(one);
    }
    let session = Session {
        runs,
        ..Session::default()
    };
    let state = state(&session);
    let masks = panel("masks");
    let first = drawn(masks, &session, &state, 0.0);
    for top in [0.0, 700.0, 18_000.0, 35_000.0] {
        let clock = Instant::now();
        let figure = drawn(masks, &session, &state, top);
        let millis = 1e3 * clock.elapsed().as_secs_f64();
        let (shapes, names) = (figure.cells.len(), figure.labels.len());
        println!("from {top}: {shapes} boxes, {names} texts, {millis:.1} ms");
        assert!(
            (160..=50 * 160).contains(&shapes),
            "{shapes} boxes from {top} on"
        );
        assert_eq!(
            figure.size, first.size,
            "scrolling does not change the size"
        );
    }
    assert!(first.size.y > 2000.0 * 15.0);
}

/// A long prompt has thousands of columns; those in view are drawn.
pub(crate) fn long_prompts_are_drawn_where_they_are_looked_at() {
    let mut session = fixed();
    let long = session.runs.last_mut().expect("there are runs");
    long.prompt_ids = vec![1; 8000];
    long.prompt_pieces = vec!["piece".to_owned(); 8000];
    for score in &mut long.scores {
        score.tokens = vec![0.5; 8000];
    }
    let state = state(&session);
    let figure = drawn(panel("tokens"), &session, &state, 0.0);
    assert!(
        figure.size.x > 30_000.0 && figure.cells.len() < 24 * 250,
        "{}",
        figure.cells.len()
    );
}

pub(crate) fn the_last_layer_keeps_its_number() {
    let mut session = fixed();
    let run = session.runs.last_mut().expect("there are runs");
    (run.mask, run.model.layers) = (LayerMask::full(126), 126);
    (run.model.attn_bytes, run.model.mlp_bytes) = (vec![1; 126], vec![3; 126]);
    let state = state(&session);
    for name in ["layers", "masks"] {
        let figure = (panel(name).figure)(&view(&session, &state));
        let numbers: Vec<&str> = figure
            .labels
            .iter()
            .map(|label| label.text.as_str())
            .collect();
        assert!(numbers.contains(&"0") && numbers.contains(&"125"), "{name}");
        assert!(!numbers.contains(&"124"), "{name}: numbers are thinned");
    }
}

pub(crate) fn wishes_win_over_the_policy() {
    let mask = LayerMask::parse("1", 3).expect("a mask");
    // An attention that runs, and one that does not.
    let switched = [0, 2].into();
    assert_eq!(forced(&mask, &switched).to_string(), "0.attn,1.mlp");
    assert_eq!(forced(&mask, &Default::default()), mask);
}
