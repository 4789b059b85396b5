use super::super::State as Panels;
use super::super::testing::view;
use super::*;
use crate::session::Session;

fn step(tau: Option<f64>) -> Step {
    Step {
        step: 1,
        loss: Some(2.0),
        skip_hard: Some(0.1),
        tau,
        scores: vec![0.5; 2],
        ..Step::default()
    }
}

#[test]
fn frozen_routers_have_no_temperature() {
    let evaluated = Step {
        heldout_loss: Some(2.0),
        ..Step::default()
    };
    let said = |last: Step| {
        summary(&Log {
            steps: vec![step(Some(0.5)), last, evaluated.clone()],
            ..Log::default()
        })
    };
    assert!(said(step(Some(0.25))).contains("gates at temperature 0.250"));
    let frozen = said(step(None));
    assert!(!frozen.contains("temperature") && frozen.contains("routers frozen"));
    let fixed = said(Step {
        scores: Vec::new(),
        ..step(None)
    });
    assert!(!fixed.contains("temperature") && !fixed.contains("frozen"));
}

#[test]
fn means_are_of_a_window() {
    let points: Vec<(f64, f64)> = (0..120)
        .map(|at| (f64::from(at), f64::from(1 + at % 3)))
        .collect();
    let means = smoothed(&points);
    assert_eq!(means.len(), points.len());
    assert_eq!((means[0].1, means[1].1), (1.0, 1.5));
    assert!(
        means[2..]
            .iter()
            .all(|(_, mean)| (mean - 2.0).abs() < 1e-12)
    );
}

fn drawn(log: Log) -> Figure {
    let session = Session {
        training: Some(log),
        ..Session::default()
    };
    figure(&view(&session, &Panels::default()))
}

#[test]
fn a_target_is_seen_wherever_it_is_unless_it_is_of_nothing() {
    // What was skipped is 0 and 10 %.
    for (target, seen) in [(0.1, true), (0.4, true), (0.0, false)] {
        let mut log = Log {
            steps: vec![step(None), step(None)],
            ..Log::default()
        };
        log.steps[1].skip_hard = Some(0.0);
        log.header.target = Some(target);
        let figure = drawn(log);
        let found = figure.labels.iter().any(|label| label.text == "target");
        assert_eq!(found, seen, "{target}");
    }
}

/// The plots and the map below them have one axis of steps.
#[test]
fn steps_are_below_one_another() {
    let steps = (1..=20).map(|index| Step {
        step: 10 * index,
        // Of the first steps alone.
        skip_hard: (index < 5).then_some(0.1),
        ..step(None)
    });
    let figure = drawn(Log {
        steps: steps.collect(),
        ..Log::default()
    });
    let numbers = figure.labels.iter().filter(|label| label.text == "150");
    let places: Vec<f32> = numbers.map(|label| label.at.x).collect();
    assert!(
        places.len() == 3 && places.iter().all(|x| *x == places[0]),
        "{places:?}"
    );
    let cell = figure
        .cells
        .iter()
        .find(|cell| cell.tip.contains("step 150:"));
    assert!((cell.expect("drawn").rect.max.x - places[0]).abs() < 0.01);
}

#[test]
fn scores_are_in_the_table() {
    let log = Log {
        steps: vec![step(None), Step::default()],
        ..Log::default()
    };
    let session = Session {
        training: Some(log),
        ..Session::default()
    };
    let csv = table(&view(&session, &Panels::default())).csv();
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert!(
        rows[0].ends_with(",0.5 0.5") && rows[1].ends_with(','),
        "{csv}"
    );
}
