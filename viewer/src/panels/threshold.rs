//! Threshold and budget: what the router's calibration predicts, beside what runs did.

mod speeds;

use super::{Action, Toolbar, View, engine_button, millis, one_threshold, tpot_text};
use crate::figure::{Figure, Table, Value, area};
use crate::job::{Choice, threshold_text};
use crate::plot::Plot;
use eframe::egui::{Slider, SliderClamping, Ui, pos2};
use first_wgpu::mask::LayerMask;
use first_wgpu::router::{CalibrationPoint, threshold_for};
use first_wgpu::trace::Run;
use std::collections::BTreeMap;

/// The threshold that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    threshold: f32,
}

impl Default for State {
    fn default() -> Self {
        Self { threshold: 0.5 }
    }
}

/// A slider that nobody moves leaves its value alone; by default it rounds it to the digits that it shows.
const AS_IT_IS: SliderClamping = SliderClamping::Edits;

/// The digits of a threshold that anybody sets.
const DECIMALS: usize = 4;

pub(super) fn toolbar(ui: &mut Ui, to: &mut Toolbar<'_>) -> Option<Action> {
    let table = &to.session.calibration;
    let state = &mut to.state.threshold;
    let mut action = None;
    ui.horizontal_wrapped(|ui| {
        let threshold = Slider::new(&mut state.threshold, 0.0..=1.0).text("threshold");
        let threshold = threshold.min_decimals(2).max_decimals(DECIMALS);
        ui.add(threshold.clamping(AS_IT_IS));
        if let Some((least, most)) = rates(table) {
            let mut percent = 100.0 * predicted(table, state.threshold).unwrap_or(least);
            let slider = Slider::new(&mut percent, 100.0 * least..=100.0 * most);
            let slider = slider.text("% of weights to skip").fixed_decimals(1);
            let changed = ui.add(slider.clamping(AS_IT_IS)).changed();
            if changed && let Ok(threshold) = threshold_for(table, percent / 100.0) {
                state.threshold = rounded(threshold);
            }
        }
        let again = engine_button(ui, to.ready && to.has_router, "Run at this threshold");
        let again = again
            .on_hover_text("runs the prompt of the selected run, if there is one; not the form's");
        if again.clicked() {
            action = Some(Action::Again(Choice::RoutedAt(state.threshold)));
        }
    });
    action
}

/// To the digits that its slider shows: its run is named after it.
fn rounded(threshold: f32) -> f32 {
    let scale = 10f32.powi(DECIMALS as i32);
    (scale * threshold).round() / scale
}

/// The smallest and the largest rate of a calibration.
fn rates(table: &[CalibrationPoint]) -> Option<(f32, f32)> {
    let rates = table.iter().map(|point| point.skip_rate);
    let ends = rates.fold((f32::INFINITY, 0f32), |(low, high), rate| {
        (low.min(rate), high.max(rate))
    });
    (ends.0 < ends.1).then_some(ends)
}

/// The share of the layers' weights that a threshold is predicted to skip, between the calibration's points.
fn predicted(table: &[CalibrationPoint], threshold: f32) -> Option<f32> {
    let mut points = table.to_vec();
    points.sort_by(|a, b| a.threshold.total_cmp(&b.threshold));
    let (first, last) = (points.first()?, points.last()?);
    if threshold <= first.threshold {
        return Some(first.skip_rate);
    }
    let above = points.iter().position(|point| point.threshold >= threshold);
    let Some(above) = above.filter(|above| *above > 0) else {
        return Some(last.skip_rate);
    };
    let (low, high) = (points[above - 1], points[above]);
    let share = (threshold - low.threshold) / (high.threshold - low.threshold).max(1e-9);
    Some(low.skip_rate + share * (high.skip_rate - low.skip_rate))
}

/// A run that a router decided at one threshold for all layers.
struct Routed<'a> {
    index: usize,
    run: &'a Run,
    threshold: f32,
    skipped: f64,
}

/// Those of the model in question.
fn routed<'a>(view: &View<'a>) -> Vec<Routed<'a>> {
    let model = scored(view).map(|run| &run.model);
    let runs = view.session.runs.iter().enumerate();
    let own = runs.filter(|(_, run)| Some(&run.model) == model);
    own.filter_map(|(index, run)| {
        Some(Routed {
            index,
            run,
            threshold: one_threshold(run)?,
            skipped: run.model.skip_rate(&run.mask),
        })
    })
    .collect()
}

/// The time per token that skipping a share of the layers' weights should save, if bytes are what costs
/// time.
fn saved(run: &Run, skipped: f64) -> f64 {
    let all = run.model.weight_bytes(&LayerMask::full(run.model.layers)) as f64;
    skipped * (all - run.model.other_bytes as f64) / all
}

/// The run whose model the calibration is of: the one in question if routers scored it, or the last that they
/// scored. A full run may be of any model.
fn scored<'a>(view: &View<'a>) -> Option<&'a Run> {
    let scored = |run: &&Run| !run.scores.is_empty();
    let last = || view.session.runs.iter().rfind(scored);
    view.run().filter(scored).or_else(last)
}

/// What the sliders ask for, in words.
fn summary(view: &View<'_>) -> String {
    let threshold = view.state.threshold.threshold;
    let Some(skipped) = predicted(&view.session.calibration, threshold) else {
        let unknown = "No calibration of these routers is known, so nothing is predicted";
        return unknown.to_owned() + &left_out(view);
    };
    let mut text = format!(
        "At {} the calibration predicts {:.1} % of the layers' weights skipped",
        threshold_text(threshold),
        100.0 * skipped
    );
    let Some(run) = scored(view) else {
        return text;
    };
    let percent = 100.0 * saved(run, f64::from(skipped));
    text += &format!("; {percent:.1} % less time per token, estimated from the bytes");
    let near = |routed: &&Routed<'_>| (routed.threshold - threshold).abs() < 0.005;
    let runs = routed(view);
    // A prompt that was run again says nothing new.
    let last = runs.iter().filter(near);
    let last: BTreeMap<_, _> = last
        .map(|routed| (&routed.run.prompt_ids, routed.skipped))
        .collect();
    let here: Vec<f64> = last.into_values().collect();
    if !here.is_empty() {
        let percent = 100.0 * crate::stats::mean(&here);
        let prompts = match here.len() {
            1 => "of one prompt".to_owned(),
            count => format!("over {count} prompts"),
        };
        text += &format!(". Counted at it: {percent:.1} % {prompts}");
    }
    text + &left_out(view)
}

/// How many runs of other models are left out, if any are.
fn left_out(view: &View<'_>) -> String {
    let model = scored(view).map(|run| &run.model);
    let others = view.session.runs.iter();
    let others =
        others.filter(|other| Some(&other.model) != model && one_threshold(other).is_some());
    match others.count() {
        0 => String::new(),
        1 => ". 1 run of another model is left out".to_owned(),
        count => format!(". {count} runs of other models are left out"),
    }
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let runs = routed(view);
    let table = &view.session.calibration;
    if table.is_empty() && runs.is_empty() {
        let text = "No router yet. Give one (`--router DIR`), or open a session with routed runs.";
        return Figure::note(palette, text);
    }
    let mut figure = Figure::default();
    figure.summary(pos2(8.0, 10.0), palette.text, summary(view));
    let mut line: Vec<(f64, f64)> = table
        .iter()
        .map(|point| {
            (
                f64::from(point.threshold),
                100.0 * f64::from(point.skip_rate),
            )
        })
        .collect();
    line.sort_by(|a, b| a.0.total_cmp(&b.0));
    let dots = runs
        .iter()
        .map(|routed| (f64::from(routed.threshold), 100.0 * routed.skipped));
    let points = line.iter().copied().chain(dots);
    let points = points.chain([(0.0, 0.0), (1.0, 0.0)]);
    let titles = [
        "% of the layers' weights skipped: the line is the mean over the calibration's prompts, squares are single runs, counted",
        "threshold",
    ];
    let rect = area(0.0, 30.0, view.width.min(900.0), 320.0);
    let plot = Plot::new(&mut figure, palette, rect, titles, points);
    let asked = f64::from(view.state.threshold.threshold);
    plot.upright(&mut figure, palette.muted, asked);
    plot.curve(&mut figure, palette.muted, line.iter().copied());
    for routed in &runs {
        let selected = routed.index == view.state.selected;
        let color = if selected {
            palette.text
        } else {
            palette.accent
        };
        let tip = format!(
            "run {}, threshold {}: {:.1} % skipped, counted; TPOT {}, measured",
            routed.index + 1,
            threshold_text(routed.threshold),
            100.0 * routed.skipped,
            tpot_text(routed.run)
        );
        let at = (f64::from(routed.threshold), 100.0 * routed.skipped);
        plot.dot(&mut figure, color, at, tip);
    }
    speeds::draw(&mut figure, view, &runs, 380.0);
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "what",
        "threshold",
        "weights_skipped",
        "tpot_ms",
        "tpot_change_measured",
        "tpot_change_half_interval",
        "tpot_change_estimated",
    ]);
    for point in &view.session.calibration {
        table.rows.push(vec![
            "calibration, predicted".into(),
            point.threshold.into(),
            point.skip_rate.into(),
            Value::Empty,
            Value::Empty,
            Value::Empty,
            Value::Empty,
        ]);
    }
    let full = speeds::FullRuns::of(view.session);
    for routed in routed(view) {
        let tpot = routed.run.tpot_nanos();
        let change = full.change(routed.run);
        table.rows.push(vec![
            format!("run {}", routed.index + 1).into(),
            routed.threshold.into(),
            routed.skipped.into(),
            tpot.map(millis).into(),
            change.map(|change| change.mean).into(),
            change.map(|change| change.half).into(),
            (0.0 - saved(routed.run, routed.skipped)).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests;
