mod kernels;

use super::super::State as Panels;
use super::super::testing::{ready, view};
use super::kernels::by_cost;
use super::spans::{Span, TRACKS};
use super::*;
use crate::palette::Palette;
use eframe::egui::accesskit::Role;
use eframe::egui::{Color32, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use first_wgpu::trace::{Dispatch, Submission};

/// A run of so many dispatches of the prefill, then of a token, and how finely it was timed.
fn run(detail: Detail, counts: [u32; 2]) -> Run {
    let mut run = Session::demo().runs[0].clone();
    run.detail = detail;
    run.dispatches.clear();
    for (token, kernel) in [(0, "of many"), (1, "of one")] {
        run.dispatches
            .extend((0..counts[token as usize]).map(|index| Dispatch {
                token,
                layer: Some(index as usize),
                label: format!("L{index:02}.mlp.down"),
                kernel: kernel.to_owned(),
                start_nanos: 12_000_000 * u64::from(token) + 1_000_000 * u64::from(index),
                duration_nanos: 900_000,
                weight_bytes: 1000,
                flops: 0,
            }));
    }
    run.submissions = vec![Submission {
        token: 1,
        start_nanos: 12_000_000,
        encode_nanos: 100_000,
        submit_nanos: 50_000,
        wall_nanos: 9_000_000,
        dispatches: 3,
    }];
    run
}

fn drawn(run: Run, prefill: bool) -> Figure {
    let mut state = Panels::default();
    state.timings.prefill = prefill;
    let session = Session {
        runs: vec![run],
        ..Session::default()
    };
    figure(&view(&session, &state))
}

fn says(figure: &Figure, text: &str) -> bool {
    figure.labels.iter().any(|label| label.text.contains(text))
}

#[test]
fn what_is_missing_is_said() {
    assert!(says(&drawn(run(Detail::None, [0, 0]), false), "tick"));
    // The GPU has no timestamps, or its times were forgotten.
    let blind = drawn(run(Detail::Dispatch, [0, 0]), false);
    for text in ["no timestamps", "forgotten", "host: wait"] {
        assert!(says(&blind, text), "{text}");
    }
    assert!(!says(&blind, "tick") && !says(&blind, "GPU: token"));
    assert!(says(
        &drawn(run(Detail::Dispatch, [3, 0]), false),
        "GPU: token"
    ));
    let one = drawn(run(Detail::Dispatch, [3, 0]), false);
    assert!(says(&one, "No dispatch of the decoded tokens"));
}

/// Without timestamps the GPU's time is what the host waited; with them it is theirs.
#[test]
fn a_gpu_without_timestamps_is_timed_by_the_host() {
    for (counts, nanos) in [([0, 0], 9_000_000), ([0, 2], 1_900_000)] {
        let run = run(Detail::Dispatch, counts);
        let spans = spans(&run);
        let tokens = spans
            .iter()
            .filter(|span| TRACKS[span.track] == "GPU: token");
        let tokens: Vec<(String, u64)> = tokens
            .map(|span| (span.label(), span.end - span.start))
            .collect();
        assert_eq!(tokens, [("token 1".to_owned(), nanos)]);
        assert_eq!(spans.iter().map(|span| span.end).max(), Some(end(&run)));
    }
}

#[test]
fn spans_are_of_tokens_layers_blocks_and_dispatches() {
    let mut run = run(Detail::Dispatch, [1, 2]);
    let mut same = run.dispatches[2].clone();
    same.label = "L01.mlp.norm".to_owned();
    run.dispatches.push(same);
    let spans = spans(&run);
    let labels = |track: &str| -> Vec<String> {
        let own = spans.iter().filter(|span| TRACKS[span.track] == track);
        own.map(Span::label).collect()
    };
    assert_eq!(labels("GPU: token"), ["prefill", "token 1"]);
    assert_eq!(labels("layer"), ["L00", "L00", "L01"]);
    assert_eq!(labels("block"), ["L00.mlp", "L00.mlp", "L01.mlp"]);
    assert_eq!(labels("dispatch").len(), 4);
}

/// A run of a token whose dispatches, of one kernel each, have these labels and take so many milliseconds.
fn labelled(dispatches: &[(&str, &str, u64)]) -> Run {
    let mut run = run(Detail::Dispatch, [0, 1]);
    let [first] = &run.dispatches[..] else {
        panic!("there is one")
    };
    let dispatch = |(index, (label, kernel, millis)): (usize, &(&str, &str, u64))| Dispatch {
        label: (*label).to_owned(),
        layer: label.starts_with('L').then_some(0),
        kernel: (*kernel).to_owned(),
        start_nanos: 10_000_000 * index as u64,
        duration_nanos: 1_000_000 * millis,
        ..first.clone()
    };
    run.dispatches = dispatches.iter().enumerate().map(dispatch).collect();
    run
}

#[test]
fn accents_are_of_sublayers_alone() {
    let palette = Palette::LIGHT;
    let run = labelled(&[
        ("embed", "embed", 1),
        ("L00", "layer", 1),
        ("L00.router", "router_score", 1),
        ("L00.attn.norm", "rms_norm", 1),
        ("L00.attn.qkv.lora", "lora_down", 1),
        ("L00.mlp.gate_up", "matvec", 1),
        ("L00.mlp.gate_up.lora", "lora_down", 1),
        ("head", "matvec", 1),
    ]);
    let colors = |track: &str| -> Vec<Color32> {
        let spans = spans(&run);
        let own = spans.iter().filter(|span| TRACKS[span.track] == track);
        own.map(|span| timeline::color(&palette, span, &by_cost(&run)))
            .collect()
    };
    let [attention, mlp, other] = [palette.accent, palette.second, palette.muted];
    let blocks = [other, other, other, attention, mlp, other];
    assert_eq!(colors("block"), blocks);
    for track in ["host: encode", "GPU: token", "layer"] {
        assert!(colors(track).iter().all(|color| *color == other), "{track}");
    }
    let kernels = colors("dispatch");
    assert!(!kernels.contains(&attention) && !kernels.contains(&mlp));
    assert!(kernels.contains(&palette.minor), "there are many");
}

#[test]
fn what_is_drawn_as_one_has_the_colour_of_the_longest() {
    // Of a run of a second a point is more than a millisecond.
    let mut run = labelled(&[
        ("L00.attn.qkv", "a", 100),
        ("L00.mlp.down", "b", 600),
        ("head", "c", 1),
    ]);
    for (index, dispatch) in run.dispatches.iter_mut().enumerate() {
        dispatch.start_nanos = 1000 * index as u64;
        dispatch.duration_nanos /= 1000;
    }
    run.submissions[0].start_nanos = 1_000_000_000;
    let figure = drawn(run, false);
    let merged = figure
        .cells
        .iter()
        .find(|cell| cell.tip.starts_with("3 of them"));
    // Of the kernels, the one that costs most has the first colour that is not attention's.
    let merged = merged.expect("they are narrower than a point");
    assert_eq!(merged.fill, Palette::LIGHT.second, "a block");
    let dispatches = figure
        .cells
        .iter()
        .rfind(|cell| cell.tip.starts_with("3 of them"));
    let fill = dispatches.expect("another track").fill;
    assert_eq!(fill, Palette::LIGHT.series(1));
}

/// A click on what ran looks at that alone, and *Back* at what was looked at before.
#[test]
fn jumps_are_taken_back_and_keys_zoom_unless_text_is_written() {
    let session = Session {
        runs: vec![run(Detail::Dispatch, [3, 9])],
        ..Session::default()
    };
    let show = |ui: &mut Ui, (state, text): &mut (Panels, String)| {
        let label = ui.label("text");
        ui.text_edit_singleline(text).labelled_by(label.id);
        toolbar(ui, &mut ready(&session, state));
    };
    let builder = Harness::builder().with_size(vec2(1000.0, 200.0));
    let mut harness = builder.build_ui_state(show, (Panels::default(), String::new()));
    let zoom = |harness: &Harness<'_, (Panels, String)>| harness.state().0.timings.zoom;
    let clicked = Heard {
        clicked: Some(5),
        zoom: 1.0,
        ..Heard::default()
    };
    heard(&session, &mut harness.state_mut().0, clicked);
    let first = zoom(&harness);
    assert!(first.is_some());
    harness.run();
    harness.get_by_label("All").click();
    harness.run();
    assert_eq!(zoom(&harness), None);
    for expected in [first, None] {
        harness.get_by_label("Back").click();
        harness.run();
        assert_eq!(zoom(&harness), expected);
    }
    for (key, holds) in [
        (Key::W, (0.25, 0.75)),
        (Key::D, (0.5, 1.0)),
        (Key::A, (0.25, 0.75)),
    ] {
        harness.key_press(key);
        harness.run();
        let (start, end) = zoom(&harness).expect("it is zoomed in");
        let all = whole(&session.runs[0]).1;
        assert_eq!((start / all, end / all), holds, "{key:?}");
    }
    harness.key_press(Key::S);
    harness.run();
    assert_eq!(zoom(&harness), None);
    harness
        .get_by_role_and_label(Role::TextInput, "text")
        .focus();
    harness.run();
    harness.key_press(Key::W);
    harness.run();
    assert_eq!(zoom(&harness), None);
}

#[test]
fn ticks_are_round_and_within_the_figure() {
    let figure = drawn(run(Detail::Dispatch, [3, 9]), false);
    let ticks = figure.labels.iter().filter(|label| label.at.y == 10.0);
    let ticks: Vec<&str> = ticks.map(|label| label.text.as_str()).collect();
    assert_eq!(ticks, ["0 ms", "5 ms", "10 ms", "15 ms", "20 ms"]);
    assert!(figure.size.x <= 880.0, "{}", figure.size.x);
}
