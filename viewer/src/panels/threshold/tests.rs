use super::super::State as Panels;
use super::super::testing::{ready, view};
use super::*;
use crate::session::Session;
use egui_kittest::Harness;

/// What neither slider shows in full: at 0.5, 42.03 %; and a threshold of four decimals.
#[test]
fn sliders_that_nobody_moves_change_nothing() {
    let point = |(threshold, skip_rate)| CalibrationPoint {
        threshold,
        skip_rate,
    };
    let session = Session {
        calibration: [(0.3, 0.1), (0.5, 0.4203), (0.9, 0.6)].map(point).to_vec(),
        ..Session::default()
    };
    for threshold in [0.5, 0.5037] {
        let state = Panels {
            threshold: State { threshold },
            ..Panels::default()
        };
        let show = |ui: &mut Ui, state: &mut Panels| {
            toolbar(ui, &mut ready(&session, state));
        };
        let mut harness = Harness::builder().build_ui_state(show, state);
        harness.run_steps(3);
        assert_eq!(harness.state().threshold.threshold, threshold);
    }
}

#[test]
fn what_is_estimated_is_of_a_model_that_routers_scored() {
    let mut session = Session::demo();
    let said = |session: &Session, selected| {
        let mut state = Panels::default();
        state.look_at(selected, 0);
        summary(&view(session, &state))
    };
    let before = said(&session, 0);
    assert!(before.contains("estimated") && before.contains("Counted at it"));
    // Another model, of which a token reads more outside of the layers.
    let mut other = session.runs[0].clone();
    other.scores.clear();
    other.model.other_bytes *= 100;
    session.runs.push(other.clone());
    let last = session.runs.len() - 1;
    assert_eq!(
        [said(&session, 0), said(&session, last)],
        [before.clone(), before]
    );
    session.runs = vec![other];
    assert!(!said(&session, 0).contains("estimated"));
}

#[test]
fn predictions_lie_between_the_points_and_stop_at_the_ends() {
    let point = |threshold, skip_rate| CalibrationPoint {
        threshold,
        skip_rate,
    };
    let table = [point(0.8, 0.4), point(0.4, 0.2)];
    for (threshold, rate) in [(0.0, 0.2), (0.4, 0.2), (0.6, 0.3), (0.8, 0.4), (1.0, 0.4)] {
        let found = predicted(&table, threshold).expect("calibrated");
        assert!((found - rate).abs() < 1e-6, "{threshold}: {found}");
    }
    assert_eq!(predicted(&[], 0.5), None);
    assert_eq!(rates(&table), Some((0.2, 0.4)));
}

#[test]
fn what_the_slider_of_rates_sets_has_a_name_of_its_own() {
    for (exact, set) in [(0.43210987, "0.4321"), (0.5, "0.50"), (0.99999, "1.00")] {
        assert_eq!(threshold_text(rounded(exact)), set);
    }
}

#[test]
fn runs_of_another_model_are_left_out() {
    let mut session = Session::demo();
    let scored = |run: &Run| one_threshold(run).is_some();
    let all = session.runs.iter().filter(|run| scored(run)).count();
    let other = session.runs.iter().rposition(scored).expect("there are");
    session.runs[other].model.name = "another".to_owned();
    let shown = |selected: usize| {
        let mut state = Panels::default();
        state.look_at(selected, 0);
        let view = view(&session, &state);
        (routed(&view).len(), summary(&view))
    };
    let (count, said) = shown(0);
    assert_eq!(count, all - 1);
    assert!(
        said.ends_with("1 run of another model is left out"),
        "{said}"
    );
    let (count, said) = shown(other);
    assert_eq!(count, 1);
    assert!(said.contains("runs of other models are left out"), "{said}");
}
