use super::*;
use crate::palette::Palette;
use eframe::egui::Rect;

#[test]
fn what_has_no_pairs_has_no_distance_and_what_is_never_skipped_has_an_interval() {
    let mut session = Session::demo();
    session.runs.truncate(4);
    for (run, tag) in session.runs.iter_mut().zip(["a", "a", "a", "b"]) {
        run.policy = "routed".to_owned();
        run.tag = Some(tag.to_owned());
    }
    let figure = figure(&View {
        session: &session,
        state: &Panels::default(),
        width: 880.0,
        visible: Rect::EVERYTHING,
        palette: Palette::LIGHT,
    });
    let dashes = figure.labels.iter().filter(|label| label.text == "-");
    assert_eq!(dashes.count(), 1, "one run of b");
    let intervals = figure.lines.iter();
    let intervals = intervals.filter(|line| line.color == Palette::LIGHT.text);
    assert_eq!(intervals.count(), 2 * session.runs[0].mask.layers());
}
