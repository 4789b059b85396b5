use super::super::testing::view;
use super::*;
use crate::palette::Palette;

#[test]
fn what_has_no_pairs_has_no_distance_and_what_is_never_skipped_has_an_interval() {
    let mut session = Session::demo();
    session.runs.truncate(4);
    for (run, tag) in session.runs.iter_mut().zip(["a", "a", "a", "b"]) {
        run.policy = "routed".to_owned();
        run.tag = Some(tag.to_owned());
    }
    let figure = figure(&view(&session, &Panels::default()));
    let dashes = figure.labels.iter().filter(|label| label.text == "-");
    assert_eq!(dashes.count(), 1, "one run of b");
    let intervals = figure.lines.iter();
    let intervals = intervals.filter(|line| line.color == Palette::LIGHT.text);
    assert_eq!(intervals.count(), 2 * session.runs[0].mask.layers());
}

#[test]
fn the_policy_that_skips_nothing_is_called_the_full_model() {
    let mut session = Session::demo();
    session.runs.truncate(1);
    session.runs[0].policy = "none".to_owned();
    let said = figure(&view(&session, &Panels::default())).about;
    assert!(said.starts_with("Policy full model: "), "{said}");
}
