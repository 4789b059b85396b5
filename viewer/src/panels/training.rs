//! The curves of a training.

mod scores;

use super::{Action, LEFT, Toolbar, View, legend, path_field, short};
use crate::figure::{Figure, Table, area};
use crate::plot::{self, Plot};
use crate::training::{Log, Step};
use eframe::egui::{Button, Rect, Ui, pos2};
use std::path::PathBuf;

/// The file of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(crate) path: String,
}

pub(super) fn toolbar(ui: &mut Ui, to: &mut Toolbar<'_>) -> Option<Action> {
    let path = &mut to.state.training.path;
    let mut action = None;
    ui.horizontal_wrapped(|ui| {
        path_field(ui, "Training log", path);
        let named = !path.trim().is_empty();
        let follow = ui.add_enabled(named, Button::new("Follow"));
        if follow.on_disabled_hover_text("name a file first").clicked() {
            action = Some(Action::Follow(PathBuf::from(&*path)));
        }
    });
    action
}

/// A curve of what some of the lines say.
fn curve(log: &Log, of: fn(&Step) -> Option<f64>) -> Vec<(f64, f64)> {
    let points = log.steps.iter();
    points
        .filter_map(|step| Some((step.step as f64, of(step)?)))
        .collect()
}

/// Of how many steps curves have the mean: tasks take turns, and each has its own loss and masks.
fn window(steps: usize) -> usize {
    (steps / 40).max(1)
}

/// The mean of each point and those before it that a window holds.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let window = window(points.len());
    let mut sum = 0.0;
    let places = points.iter().enumerate();
    places
        .map(|(index, point)| {
            sum += point.1;
            if index >= window {
                sum -= points[index - window].1;
            }
            (point.0, sum / window.min(index + 1) as f64)
        })
        .collect()
}

/// One line of the plots: its name, its colour's place in the series, its points.
type Named = (&'static str, usize, Vec<(f64, f64)>);

/// A plot of curves whose axes hold two more points.
fn plot(
    figure: &mut Figure,
    view: &View<'_>,
    rect: Rect,
    title: &str,
    curves: &[Named],
    ends: [(f64, f64); 2],
) -> Plot {
    let palette = &view.palette;
    let points = curves
        .iter()
        .flat_map(|(_, _, points)| points.iter().copied());
    let points = points.chain(ends);
    let plot = Plot::new(figure, palette, rect, [title, "step"], points);
    let drawn = curves.iter().filter(|curve| !curve.2.is_empty());
    let names = drawn
        .clone()
        .map(|(name, series, _)| (palette.series(*series), *name));
    let names: Vec<_> = names.collect();
    for (_, series, points) in drawn.rev() {
        plot.curve(figure, palette.series(*series), points.iter().copied());
    }
    let left = rect.max.x - legend::width(&names);
    legend::named(figure, palette, pos2(left, rect.min.y + 8.0), names);
    plot
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let Some(log) = &view.session.training else {
        let text = "No training log yet. Give the file that `first train` writes; it is followed while it grows.";
        return Figure::note(palette, text);
    };
    let mut figure = Figure::default();
    let said = summary(log);
    figure.row(area(8.0, 0.0, view.width - 24.0, 22.0), said.clone());
    figure.summary(pos2(8.0, 10.0), palette.text, said);
    let losses = curve(log, |step| step.loss);
    let heldout = curve(log, |step| step.heldout_loss);
    let width = (view.width - 16.0 - LEFT).max(300.0);
    // Axes begin where the map of scores does.
    let rect = |top: f32, height: f32| area(LEFT - plot::LEFT, top, width + plot::LEFT, height);
    let means = match window(losses.len()) {
        1 => String::new(),
        steps => format!("; batches as means of {steps} steps"),
    };
    let curves = [
        ("batches", 0, smoothed(&losses)),
        ("held out", 1, heldout.clone()),
    ];
    let title = format!("Loss, nats a token{means}");
    // All plots are over all steps, so that those below one another are aligned.
    let ends = |y: f64| {
        let ends = [log.steps.first(), log.steps.last()];
        ends.map(|step| (step.map_or(f64::NAN, |step| step.step as f64), y))
    };
    let (place, axes) = (rect(28.0, 240.0), ends(f64::NAN));
    let losses = plot(&mut figure, view, place, &title, &curves, axes);
    for point in heldout {
        let tip = format!("step {}: held-out loss {:.4}", point.0, point.1);
        losses.dot(&mut figure, palette.series(1), point, tip);
    }
    let percent = |of: fn(&Step) -> Option<f64>| -> Vec<(f64, f64)> {
        let points = curve(log, of).into_iter();
        points.map(|(step, share)| (step, 100.0 * share)).collect()
    };
    let (mut soft, hard) = (
        percent(|step| step.skip_soft),
        percent(|step| step.skip_hard),
    );
    // Gates that are all hard have one curve.
    if soft == hard {
        soft.clear();
    }
    let curves = [
        ("soft gates", 2, smoothed(&soft)),
        ("hard gates", 0, smoothed(&hard)),
        ("held out", 1, percent(|step| step.heldout_skip)),
    ];
    let title = format!("Weights skipped, %{means}");
    // Without routers that learn there is none.
    let target = log.header.target.filter(|target| *target > 0.0);
    let target = target.map(|target| 100.0 * target);
    let (place, axes) = (rect(280.0, 220.0), ends(target.unwrap_or(f64::NAN)));
    let rates = plot(&mut figure, view, place, &title, &curves, axes);
    if let Some(target) = target {
        rates.level(&mut figure, palette.muted, target, "target");
    }
    scores::draw(&mut figure, view, log, &rates, 520.0);
    figure
}

fn summary(log: &Log) -> String {
    let header = &log.header;
    // Without its options, which name every file.
    let command = header.command.split(" --").next().unwrap_or_default();
    let mut parts = vec![short(command, 48), header.model.clone()];
    if let Some(last) = log.steps.last() {
        let of = header
            .steps
            .map_or(String::new(), |steps| format!(" of {steps}"));
        parts.push(format!("step {}{of}", last.step));
    }
    let seconds: f64 = log.steps.iter().filter_map(|step| step.seconds).sum();
    if seconds > 0.0 {
        parts.push(format!("{:.0} min", seconds / 60.0));
    }
    // The last step; what is said of held-out answers says nothing of gates.
    let last = log.steps.iter().rev().find(|step| step.loss.is_some());
    match last.map(|step| (step.tau, step.scores.is_empty())) {
        Some((Some(tau), _)) => parts.push(format!("gates at temperature {tau:.3}")),
        Some((None, false)) => parts.push("routers frozen".to_owned()),
        Some((None, true)) | None => {}
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

/// Each router's mean score, attention and MLP of each layer in turn, in one cell; nothing of a step without.
fn scores(step: &Step) -> Option<String> {
    let scores: Vec<String> = step.scores.iter().map(f32::to_string).collect();
    (!scores.is_empty()).then(|| scores.join(" "))
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "step",
        "loss",
        "tokens",
        "seconds",
        "skip_soft",
        "skip_hard",
        "tau",
        "gradient_norm",
        "heldout_loss",
        "heldout_skip",
        "heldout_masks",
        "scores",
    ]);
    let Some(log) = &view.session.training else {
        return table;
    };
    for step in &log.steps {
        table.rows.push(vec![
            step.step.into(),
            step.loss.into(),
            step.tokens.into(),
            step.seconds.into(),
            step.skip_soft.into(),
            step.skip_hard.into(),
            step.tau.into(),
            step.gradient_norm.into(),
            step.heldout_loss.into(),
            step.heldout_skip.into(),
            step.heldout_masks.into(),
            scores(step).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests;
