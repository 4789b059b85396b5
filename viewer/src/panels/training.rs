//! The curves of a training.

mod scores;

use super::{Action, Toolbar, View, legend, path_field, short};
use crate::figure::{Figure, Table, area};
use crate::plot::Plot;
use crate::training::{Log, Step};
use eframe::egui::{Rect, Ui, pos2};
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
        if ui.button("Follow").clicked() {
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

fn plot(figure: &mut Figure, view: &View<'_>, rect: Rect, title: &str, curves: &[Named]) -> Plot {
    let palette = &view.palette;
    let points = curves
        .iter()
        .flat_map(|(_, _, points)| points.iter().copied());
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
    figure.text(pos2(8.0, 10.0), palette.text, summary(log));
    let losses = curve(log, |step| step.loss);
    let heldout = curve(log, |step| step.heldout_loss);
    let width = (view.width - 16.0).max(300.0);
    let rect = area(0.0, 28.0, width, 240.0);
    let means = match window(losses.len()) {
        1 => String::new(),
        steps => format!("; batches as means of {steps} steps"),
    };
    let curves = [
        ("batches", 0, smoothed(&losses)),
        ("held out", 1, heldout.clone()),
    ];
    let title = format!("Loss, nats a token{means}");
    let losses = plot(&mut figure, view, rect, &title, &curves);
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
    let rect = area(0.0, 280.0, width, 220.0);
    let title = format!("Weights skipped, %{means}");
    let rates = plot(&mut figure, view, rect, &title, &curves);
    // Without routers that learn there is none.
    if let Some(target) = log.header.target.filter(|target| *target > 0.0) {
        rates.level(&mut figure, palette.muted, 100.0 * target, "target");
    }
    scores::draw(&mut figure, view, log, 520.0);
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
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::State as Panels;
    use super::*;
    use crate::palette::Palette;
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

    #[test]
    fn a_target_of_nothing_is_no_target() {
        for (target, drawn) in [(0.1, true), (0.0, false)] {
            let mut log = Log {
                steps: vec![step(None), step(None)],
                ..Log::default()
            };
            log.steps[1].skip_hard = Some(0.0);
            log.header.target = Some(target);
            let session = Session {
                training: Some(log),
                ..Session::default()
            };
            let figure = figure(&View {
                session: &session,
                state: &Panels::default(),
                width: 880.0,
                visible: Rect::EVERYTHING,
                palette: Palette::LIGHT,
            });
            let found = figure.labels.iter().any(|label| label.text == "target");
            assert_eq!(found, drawn, "{target}");
        }
    }
}
