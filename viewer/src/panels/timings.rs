//! When each dispatch ran, from the answer's tokens down to single dispatches, and what each kernel cost.

mod kernels;
mod spans;

use super::{Action, LEFT, NO_RUN, Toolbar, View, legend, other_run};
use crate::figure::{Figure, Heard, Table, area};
use crate::palette::{Palette, SERIES};
use crate::plot::ticks;
use crate::session::Session;
use eframe::egui::{self, Ui, pos2};
use first_wgpu::trace::{Detail, Run};
use kernels::{by_cost, kernels};
use spans::{Span, TRACKS, end, spans};

/// What is looked at of a run's times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The part on the time axis, in nanoseconds; all of it without one.
    zoom: Option<(f64, f64)>,
    /// Whether kernels are of the prefill, or of the decoded tokens.
    prefill: bool,
}

/// From track to track.
const TRACK: f32 = 26.0;
/// Above the first.
const TOP: f32 = 26.0;
/// Right of the tracks.
const RIGHT: f32 = 16.0;
/// The width of a digit of a tick's label, and a little more.
const DIGIT: f32 = 7.0;
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
        if ui.button("All").clicked() {
            state.zoom = None;
        }
        for (name, factor, pan) in [
            ("Zoom in", 2.0, 0.0),
            ("Zoom out", 0.5, 0.0),
            ("Earlier", 1.0, -0.5),
            ("Later", 1.0, 0.5),
        ] {
            if ui.button(name).clicked() {
                state.change(run, factor, 0.5, pan);
            }
        }
        for (prefill, name) in PARTS {
            ui.selectable_value(&mut state.prefill, prefill, name);
        }
        let timed = |run: &Run| !run.dispatches.is_empty();
        other_run(ui, &to.session.runs, &mut to.state.other, timed);
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
        timings.zoom = Some(((start - room).max(0.0), end + room));
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
    let kernels = kernels(run, prefill);
    let names = by_cost(run);
    timeline(&mut figure, view, run, &names);
    let below = TOP + TRACK * TRACKS.len() as f32;
    let [attention, mlp, _] = legend::sublayers(palette);
    figure.text_right(pos2(LEFT - 10.0, below + 12.0), palette.muted, "of blocks");
    legend::named(
        &mut figure,
        palette,
        pos2(LEFT, below + 12.0),
        [attention, mlp],
    );
    let top = below + 42.0;
    let part = PARTS[usize::from(prefill)].1;
    let missing = match (run.dispatches.is_empty(), run.detail) {
        (true, Detail::None) => {
            "No dispatch was timed: tick “time every dispatch” and run again.".to_owned()
        }
        (true, _) => {
            "This GPU has no timestamps: what there is to see is by the host's clock.".to_owned()
        }
        (false, _) if kernels.is_empty() => format!("No dispatch of the {part} was timed."),
        (false, _) => {
            let title = format!("Kernels of the {part}");
            figure.text(pos2(8.0, top), palette.text, title);
            kernels::draw(&mut figure, view, run, &kernels, &names, top + 24.0);
            return figure;
        }
    };
    figure.text(pos2(LEFT, top), palette.muted, missing);
    figure
}

/// The colour of a kernel: those that cost most have theirs.
fn kernel_color(palette: &Palette, kernel: &str, by_cost: &[&str]) -> eframe::egui::Color32 {
    let place = by_cost.iter().position(|name| *name == kernel);
    let place = place.filter(|place| *place < SERIES);
    place.map_or(palette.line, |place| palette.series(place))
}

fn color(palette: &Palette, span: &Span<'_>, by_cost: &[&str]) -> eframe::egui::Color32 {
    match span.kernel() {
        Some(kernel) => kernel_color(palette, kernel, by_cost),
        None if span.is_mlp() => palette.second,
        None if span.is_host() => palette.muted,
        None => palette.accent,
    }
}

/// Each track from left to right; what is narrower than a point is drawn together with its neighbours.
fn timeline(figure: &mut Figure, view: &View<'_>, run: &Run, by_cost: &[&str]) {
    let palette = &view.palette;
    let (start, end) = view.state.timings.range(run);
    let width = view.width - LEFT - RIGHT;
    let place = |nanos: f64| LEFT + ((nanos - start) / (end - start)) as f32 * width;
    for (track, name) in TRACKS.iter().enumerate() {
        let y = TOP + TRACK * track as f32 + 11.0;
        figure.text_right(pos2(LEFT - 10.0, y), palette.muted, *name);
    }
    for (millis, label) in ticks((start / 1e6, end / 1e6), 5.0) {
        let label = label + " ms";
        // The last may be at the right end.
        let most = view.width - DIGIT * label.len() as f32 / 2.0;
        let at = pos2(place(1e6 * millis).min(most), 10.0);
        figure.text_middle(at, palette.muted, label);
    }
    let mut together: Vec<Gathered<'_>> = Vec::new();
    for (index, span) in spans(run).into_iter().enumerate() {
        if (span.end as f64) < start || (span.start as f64) > end {
            continue;
        }
        let left = place(span.start as f64).max(LEFT);
        let right = place(span.end as f64).min(LEFT + width);
        match together.last_mut() {
            Some(last) if last.takes(&span, right) => last.add(&span, right),
            _ => together.push(Gathered {
                fill: color(palette, &span, by_cost),
                nanos: span.end - span.start,
                count: 1,
                left,
                right,
                index,
                span,
            }),
        }
    }
    for gathered in together {
        let y = TOP + TRACK * gathered.span.track as f32;
        let width = gathered.right - gathered.left;
        let gap = if width > 4.0 { 1.0 } else { 0.0 };
        let rect = area(gathered.left, y, (width - gap).max(1.0), TRACK - 4.0);
        let tip = gathered.tip();
        figure.cell(rect, gathered.fill, tip, Some(gathered.index));
        // Narrower ones have room for no name.
        if gathered.count > 1 || width < 30.0 {
            continue;
        }
        let text = gathered.span.label();
        if width > 8.0 * text.len() as f32 + 6.0 {
            let ink = crate::palette::ink_on(gathered.fill);
            figure.text_middle(rect.center(), ink, text);
        }
    }
}

/// Neighbouring spans of a track that are drawn as one.
struct Gathered<'a> {
    span: Span<'a>,
    index: usize,
    count: usize,
    nanos: u64,
    left: f32,
    right: f32,
    fill: eframe::egui::Color32,
}

impl Gathered<'_> {
    fn takes(&self, span: &Span<'_>, right: f32) -> bool {
        span.track == self.span.track && right - self.left < 1.0
    }

    fn add(&mut self, span: &Span<'_>, right: f32) {
        self.count += 1;
        self.nanos += span.end - span.start;
        self.right = right;
    }

    fn tip(&self) -> String {
        let millis = self.nanos as f64 / 1e6;
        match self.count {
            1 => format!(
                "{}\n{millis:.3} ms, measured\n{}",
                self.span.label(),
                self.span.about()
            ),
            count => format!("{count} of them, {millis:.3} ms together, measured"),
        }
    }
}

pub(super) fn table(view: &View<'_>) -> Table {
    view.run().map_or_else(Table::default, kernels::table)
}

#[cfg(test)]
mod tests;
