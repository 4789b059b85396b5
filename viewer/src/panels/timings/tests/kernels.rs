use super::super::super::State as Panels;
use super::super::super::testing::view;
use super::super::found::Found;
use super::super::kernels::{between, buckets, by_cost, change, kernels};
use super::super::table;
use super::{drawn, labelled, run, says};
use crate::session::Session;
use first_wgpu::trace::{Detail, Run};

/// The table of the first run beside the last.
fn csv(runs: Vec<Run>) -> String {
    let state = Panels {
        other: runs.len() - 1,
        ..Panels::default()
    };
    let session = Session {
        runs,
        ..Session::default()
    };
    table(&view(&session, &state)).csv()
}

#[test]
fn kernels_are_of_the_prefill_or_of_the_decoded_tokens() {
    for (prefill, title, [own, other]) in [
        (
            false,
            "Kernels of the decoded tokens",
            ["of one down", "of many down"],
        ),
        (
            true,
            "Kernels of the prefill",
            ["of many down", "of one down"],
        ),
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
        let [own, other] = [&more, &fewer].map(|run| buckets(run, prefill));
        let change_of = |kernel| change(&own, &other, prefill, [kernel, "down"]);
        let shared = change_of(kernel).expect("both ran it");
        assert_eq!(shared.mean, 0.0, "{kernel}");
        // Of one token there is no interval; of the prefill there is one over its dispatches.
        assert_eq!(shared.half.is_finite(), prefill, "{kernel}");
        assert_eq!(change_of("another"), None);
    }
}

#[test]
fn kernels_are_told_apart_by_what_they_are_for() {
    let mut run = labelled(&[
        ("L00.mlp.down", "matvec", 2),
        ("L00.mlp.gate_up", "matvec", 5),
        ("L01.mlp.gate_up", "matvec", 8),
        ("head", "matvec", 4),
        ("embed", "embed", 1),
    ]);
    run.dispatches[3].weight_bytes = 400_000_000;
    let rows: Vec<(String, [f64; 8])> = kernels(&buckets(&run, false))
        .iter()
        .map(|kernel| (kernel.title(), kernel.numbers()))
        .collect();
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["matvec gate_up", "matvec head", "matvec down", "embed"]
    );
    let [count, sum, percent, mean, median, ..] = rows[0].1;
    assert_eq!([count, sum, percent, mean], [2.0, 13.0, 65.0, 6500.0]);
    assert_eq!(median, 5000.0, "what one of the two took");
    // A kilobyte in milliseconds is no rate.
    assert!(rows[1].1[7] == 100.0 && rows[0].1[7] < 0.05);
    let figure = drawn(run.clone(), false);
    let drawn = |text: &str| figure.labels.iter().any(|label| label.text == text);
    assert!(drawn("100.0") && !drawn("0.0"));
    assert!(says(&figure, "20.0 ms in kernels"));
    let csv = csv(vec![run]);
    let head = csv.lines().nth(1).expect("rows");
    assert!(
        head.starts_with("decoded tokens,matvec,gate_up,2,13.000000,65.000000,6500.000000,5000."),
        "{head}"
    );
}

#[test]
fn few_dispatches_have_no_histogram() {
    for (count, drawn_bars) in [(19, false), (20, true)] {
        let figure = drawn(run(Detail::Dispatch, [0, count]), false);
        let of = format!(" of {count} from 900.0 to ");
        let bars = figure.cells.iter().filter(|cell| cell.tip.contains(&of));
        assert_eq!(bars.count() > 0, drawn_bars, "{count}");
    }
}

#[test]
fn what_lies_between_dispatches_is_of_tokens_in_one_submission() {
    // Tokens of a millisecond's pitch, of which each dispatch takes nine tenths.
    let mut run = run(Detail::Dispatch, [4, 3]);
    assert_eq!(between(&run), Some((2_900_000, 200_000)));
    assert!(says(&drawn(run.clone(), false), "6.9 % lie between"));
    assert!(!says(&drawn(run.clone(), true), "lie between"));
    run.submissions.push(run.submissions[0].clone());
    assert_eq!(between(&run), None, "where the second begins is not known");
    run.submissions.pop();
    run.dropped_timestamps = 1;
    assert_eq!(between(&run), None);
}

/// A prefill takes long: next to all of it, what decoding costs would be nothing.
#[test]
fn kernels_that_cost_most_are_those_of_either_part() {
    let mut run = labelled(&[
        ("L00.mlp.down", "matmul", 900),
        ("L00.attn.qkv", "norm", 100),
    ]);
    for dispatch in &mut run.dispatches {
        dispatch.token = 0;
    }
    let decoded = labelled(&[("L00.attn.qkv", "matvec", 8), ("head", "argmax", 2)]);
    run.dispatches.extend(decoded.dispatches);
    assert_eq!(by_cost(&run), ["matmul", "matvec", "argmax", "norm"]);
}

#[test]
fn colours_of_kernels_are_as_many_as_there_are() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let labels: Vec<(&str, &str, u64)> = names.iter().map(|name| ("head", *name, 1)).collect();
    let figure = drawn(labelled(&labels), false);
    assert!(says(&figure, "other kernels"));
    for (count, others) in [(3, false), (4, true)] {
        let figure = drawn(labelled(&labels[..count]), false);
        assert_eq!(says(&figure, "other kernels"), others, "{count}");
    }
}

#[test]
fn what_has_no_time_counts_for_nothing_and_is_counted() {
    let mut lossy = run(Detail::Dispatch, [3, 4]);
    for lost in [0, 3, 4] {
        lossy.dispatches[lost].duration_nanos = 0;
    }
    lossy.dropped_timestamps = 3;
    let found = Found::of(&lossy, Some(&run(Detail::Dispatch, [3, 4])), false);
    let [kernel] = &found.kernels[..] else {
        panic!("there is one kernel")
    };
    assert_eq!(kernel.times, [900_000; 2]);
    let change = found.changes[0].expect("both ran it");
    assert_eq!(change.mean, 0.0, "what was lost was no faster");
    assert!(says(
        &drawn(lossy.clone(), false),
        "; 2 dispatches have no time"
    ));
    assert!(says(
        &drawn(lossy.clone(), true),
        "; 1 dispatch has no time"
    ));
    // Where none were lost, what took no time took none.
    lossy.dropped_timestamps = 0;
    assert_eq!(Found::of(&lossy, None, false).kernels[0].times.len(), 4);
    assert!(!says(&drawn(lossy, false), "no time"));
}

#[test]
fn kernels_that_lost_times_are_not_those_that_cost_least() {
    let mut run = labelled(&[("head", "a", 3), ("head", "b", 2), ("embed", "a", 3)]);
    run.dispatches[0].duration_nanos = 0;
    run.dropped_timestamps = 1;
    let found = Found::of(&run, None, false);
    let shares: Vec<f64> = found
        .kernels
        .iter()
        .map(|kernel| kernel.numbers()[2])
        .collect();
    assert_eq!(shares, [60.0, 40.0]);
}

#[test]
fn differences_from_the_other_run_are_in_the_table() {
    let mut slower = run(Detail::Dispatch, [0, 3]);
    for dispatch in &mut slower.dispatches {
        dispatch.duration_nanos += 100_000;
    }
    let csv = csv(vec![slower.clone(), run(Detail::Dispatch, [0, 3])]);
    assert!(
        csv.lines()
            .nth(1)
            .expect("a row")
            .ends_with(",2,100.000000,"),
        "{csv}"
    );
    let alone = self::csv(vec![slower]);
    assert!(
        alone.lines().nth(1).expect("a row").ends_with(",,,"),
        "{alone}"
    );
}
