use super::super::State as Panels;
use super::*;
use eframe::egui::Rect;
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
    figure(&View {
        session: &session,
        state: &state,
        width: 880.0,
        visible: Rect::EVERYTHING,
        palette: Palette::LIGHT,
    })
}

fn says(figure: &Figure, text: &str) -> bool {
    figure.labels.iter().any(|label| label.text.contains(text))
}

#[test]
fn kernels_are_of_the_prefill_or_of_the_decoded_tokens() {
    for (prefill, title, [own, other]) in [
        (
            false,
            "Kernels of the decoded tokens",
            ["of one", "of many"],
        ),
        (true, "Kernels of the prefill", ["of many", "of one"]),
    ] {
        let figure = drawn(run(Detail::Dispatch, [3, 2]), prefill);
        assert!(says(&figure, title) && says(&figure, own), "{title}");
        assert!(!says(&figure, other), "{title}");
    }
}

#[test]
fn kernels_are_compared_by_what_both_ran() {
    let mut more = run(Detail::Dispatch, [3, 3]);
    // What the other has none of takes longer than all else.
    for last in [2, 5] {
        more.dispatches[last].duration_nanos = 9_000_000;
    }
    let fewer = run(Detail::Dispatch, [2, 2]);
    for (prefill, kernel) in [(false, "of one"), (true, "of many")] {
        let change = |kernel| kernels::change(&more, &fewer, prefill, kernel);
        let shared = change(kernel).expect("both ran it");
        assert_eq!(shared.mean, 0.0, "{kernel}");
        // Of one token there is no interval; of the prefill there is one over its dispatches.
        assert_eq!(shared.half.is_finite(), prefill, "{kernel}");
        assert_eq!(change("another"), None);
    }
}

#[test]
fn what_is_missing_is_said() {
    assert!(says(&drawn(run(Detail::None, [0, 0]), false), "tick"));
    let blind = drawn(run(Detail::Dispatch, [0, 0]), false);
    assert!(says(&blind, "no timestamps") && !says(&blind, "tick"));
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

#[test]
fn ticks_are_round_and_within_the_figure() {
    let figure = drawn(run(Detail::Dispatch, [3, 9]), false);
    let ticks = figure.labels.iter().filter(|label| label.at.y == 10.0);
    let ticks: Vec<&str> = ticks.map(|label| label.text.as_str()).collect();
    assert_eq!(ticks, ["0 ms", "5 ms", "10 ms", "15 ms", "20 ms"]);
    assert!(figure.size.x <= 880.0, "{}", figure.size.x);
}
