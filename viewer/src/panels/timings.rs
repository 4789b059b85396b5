//! When each dispatch ran, from the answer's tokens down to single dispatches, and what each kernel cost.

mod found;
mod kernels;
mod spans;
mod table;
mod timeline;

use super::{Action, LEFT, NO_RUN, Toolbar, View, key_button, other_run};
use crate::figure::{Figure, Heard, Table};
use crate::session::Session;
use eframe::egui::{self, Key, Ui, pos2};
use first_wgpu::trace::{Detail, Run};
pub use found::Memory;
use found::found;
use spans::{end, spans};

/// The part on the time axis, in nanoseconds; all of it without one.
type Zoom = Option<(f64, f64)>;

/// What is looked at of a run's times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    zoom: Zoom,
    /// What was looked at before each jump.
    before: Vec<Zoom>,
    /// Whether kernels are of the prefill, or of the decoded tokens.
    prefill: bool,
    /// Whether the run is compared with no other.
    alone: bool,
}

/// Right of the tracks.
const RIGHT: f32 = 16.0;
/// The shortest time that can be zoomed to, in nanoseconds.
const SHORTEST: f64 = 1_000.0;

/// What kernels are counted of.
const PARTS: [(bool, &str); 2] = [(false, "decoded tokens"), (true, "prefill")];

fn whole(run: &Run) -> (f64, f64) {
    (0.0, end(run).max(1) as f64)
}

impl State {
    /// Looks at another run.
    pub(super) fn reset(&mut self) {
        self.zoom = None;
        self.before.clear();
    }

    fn jump(&mut self, zoom: Zoom) {
        self.before.push(self.zoom);
        self.zoom = zoom;
    }

    fn range(&self, run: &Run) -> (f64, f64) {
        self.zoom.unwrap_or_else(|| whole(run))
    }

    /// Zooms by a factor around a place, from 0 (left) to 1, and pans by a share of the width.
    fn change(&mut self, run: &Run, factor: f64, around: f64, pan: f64) {
        let (all, (start, end)) = (whole(run), self.range(run));
        let centre = start + around * (end - start);
        let width = ((end - start) / factor).clamp(SHORTEST.min(all.1), all.1);
        let start = centre - around * width + pan * width;
        let start = start.clamp(0.0, all.1 - width);
        self.zoom = (width < all.1).then_some((start, start + width));
    }
}

pub(super) fn toolbar(ui: &mut Ui, to: &mut Toolbar<'_>) -> Option<Action> {
    let run = to.session.runs.get(to.state.selected)?;
    let state = &mut to.state.timings;
    let mut action = None;
    ui.horizontal_wrapped(|ui| {
        let zoomed = ui.add_enabled(state.zoom.is_some(), egui::Button::new("All"));
        if zoomed.clicked() {
            state.jump(None);
        }
        let back = ui.add_enabled(!state.before.is_empty(), egui::Button::new("Back"));
        if back.clicked() {
            state.zoom = state.before.pop().flatten();
        }
        for (name, key, factor, pan) in [
            ("Zoom in", Key::W, 2.0, 0.0),
            ("Zoom out", Key::S, 0.5, 0.0),
            ("Earlier", Key::A, 1.0, -0.5),
            ("Later", Key::D, 1.0, 0.5),
        ] {
            if key_button(ui, name, key) {
                state.change(run, factor, 0.5, pan);
            }
        }
        for (prefill, name) in PARTS {
            ui.selectable_value(&mut state.prefill, prefill, name);
        }
        let timed = |run: &Run| !run.dispatches.is_empty();
        let mut other = (!state.alone).then_some(to.state.other);
        let (runs, selected) = (&to.session.runs, to.state.selected);
        other_run(ui, runs, selected, &mut other, true, timed);
        state.alone = other.is_none();
        to.state.other = other.unwrap_or(to.state.other);
        let timed = to.session.runs.iter().any(timed);
        let forget = ui.add_enabled(timed, egui::Button::new("Forget all times"));
        let forget = forget.on_hover_text(
            "drops what each dispatch of each run took, which is most of a session; runs and answers stay",
        );
        if forget.clicked() {
            action = Some(Action::ForgetTimes);
        }
    });
    action
}

pub(super) fn heard(session: &Session, state: &mut super::State, heard: Heard) -> Option<Action> {
    let run = session.runs.get(state.selected)?;
    let width = (heard.width - LEFT - RIGHT).max(1.0);
    let timings = &mut state.timings;
    if heard.zoom != 1.0 || heard.drag != 0.0 {
        let around = ((heard.at - LEFT) / width).clamp(0.0, 1.0);
        let pan = -heard.drag / width;
        timings.change(
            run,
            f64::from(heard.zoom),
            f64::from(around),
            f64::from(pan),
        );
    }
    if let Some(span) = heard
        .clicked
        .and_then(|index| spans(run).into_iter().nth(index))
    {
        let (start, end) = (span.start as f64, span.end as f64);
        let room = (end - start).max(SHORTEST) * 0.05;
        timings.jump(Some(((start - room).max(0.0), end + room)));
    }
    None
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let Some(run) = view.run() else {
        return Figure::note(palette, NO_RUN);
    };
    let mut figure = Figure::default();
    let prefill = view.state.timings.prefill;
    let found = found(view, run);
    let top = timeline::draw(&mut figure, view, run, &found.by_cost);
    let part = PARTS[usize::from(prefill)].1;
    let missing = match (run.dispatches.is_empty(), run.detail) {
        (true, Detail::None) => {
            "No dispatch was timed: tick “time every dispatch” and run again.".to_owned()
        }
        (true, _) => "No dispatch times are here: they were forgotten, or this GPU has no timestamps. What there is to \
                      see is by the host's clock."
            .to_owned(),
        (false, _) if found.kernels.is_empty() => format!("No dispatch of the {part} was timed."),
        (false, _) => {
            table::draw(&mut figure, view, run, &found, top);
            return figure;
        }
    };
    figure.summary(pos2(8.0, top), palette.muted, missing);
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    table::table(view)
}

#[cfg(test)]
mod tests;
