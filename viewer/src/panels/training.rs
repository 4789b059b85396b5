//! The curves of a training.

use super::{Action, Controls, LEFT, View, path_field, short};
use crate::figure::{Figure, Table, area};
use crate::palette::heat;
use crate::plot::Plot;
use crate::training::{Log, Step};
use eframe::egui::{Rangef, Rect, Ui, pos2};
use std::path::PathBuf;

/// The file of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(crate) path: String,
}

/// Columns of the map of scores; of more steps a column has the mean of several.
const MOST_COLUMNS: usize = 160;

pub(super) fn controls(ui: &mut Ui, to: &mut Controls<'_>) -> Option<Action> {
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

/// The mean of each point and those before it that a window holds.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let window = (points.len() / 40).max(1);
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
    let mut x = rect.max.x - 16.0;
    for (name, series, points) in curves.iter().rev().filter(|curve| !curve.2.is_empty()) {
        let color = palette.series(*series);
        plot.curve(figure, color, points.iter().copied());
        figure.text_right(pos2(x, rect.min.y + 8.0), color, *name);
        x -= 7.0 * name.len() as f32 + 16.0;
    }
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
    let curves = [
        ("batch, smoothed", 0, smoothed(&losses)),
        ("held out", 1, heldout.clone()),
    ];
    let losses = plot(&mut figure, view, rect, "Loss, nats a token", &curves);
    for point in heldout {
        let tip = format!("step {}: held-out loss {:.4}", point.0, point.1);
        losses.dot(&mut figure, palette.series(1), point, tip);
    }
    let percent = |of: fn(&Step) -> Option<f64>| -> Vec<(f64, f64)> {
        let points = curve(log, of).into_iter();
        points.map(|(step, share)| (step, 100.0 * share)).collect()
    };
    let curves = [
        ("soft gates", 3, percent(|step| step.skip_soft)),
        ("hard gates", 0, percent(|step| step.skip_hard)),
        ("held out", 1, percent(|step| step.heldout_skip)),
    ];
    let rect = area(0.0, 280.0, width, 220.0);
    let rates = plot(&mut figure, view, rect, "Weights skipped, %", &curves);
    // Without routers that learn there is none.
    if let Some(target) = log.header.target.filter(|target| *target > 0.0) {
        rates.level(&mut figure, palette.muted, 100.0 * target, "target");
    }
    scores(&mut figure, view, log, 520.0);
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

/// The mean of a router's scores over some steps; `None` where none has any.
fn mean_score(steps: &[&Step], router: usize) -> Option<f32> {
    let scores = steps.iter().filter_map(|step| step.scores.get(router));
    let (sum, count) = scores.fold((0.0, 0.0), |(sum, count), score| (sum + score, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// The routers' mean scores, a row a router, a column a step or the mean of several.
fn scores(figure: &mut Figure, view: &View<'_>, log: &Log, top: f32) {
    let with: Vec<&Step> = log
        .steps
        .iter()
        .filter(|step| !step.scores.is_empty())
        .collect();
    let Some(last) = with.last() else { return };
    let routers = last.scores.len();
    let columns = with.len().min(MOST_COLUMNS);
    let palette = &view.palette;
    let title = "Mean score of each router; from the left, step by step";
    figure.text(pos2(LEFT, top), palette.text, title);
    let step = (view.width - LEFT - 16.0) / columns as f32;
    let height = if routers > 80 { 5.0 } else { 9.0 };
    for router in 0..routers {
        let y = top + 16.0 + height * router as f32;
        let seen = view
            .visible
            .y_range()
            .intersects(Rangef::new(y, y + height));
        if !seen && router + 1 < routers {
            continue;
        }
        let name = format!("L{:02} {}", router / 2, ["attn", "mlp"][router % 2]);
        // Names where there is room; the last always keeps its own.
        let every = if height < 9.0 { 4 } else { 2 };
        if (router.is_multiple_of(every) && router + every < routers) || router + 1 == routers {
            figure.text_right(
                pos2(LEFT - 8.0, y + height / 2.0),
                palette.muted,
                name.clone(),
            );
        }
        for column in 0..columns {
            // Tasks take turns: one step of several would always be of the same ones.
            let at = |column: usize| column * with.len() / columns;
            let steps = &with[at(column)..at(column + 1)];
            let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
                continue;
            };
            let Some(score) = mean_score(steps, router) else {
                continue;
            };
            let tip = match first.step == last.step {
                true => format!("{name}, step {}: {score:.3}", last.step),
                false => format!("{name}, steps {} to {}: {score:.3}", first.step, last.step),
            };
            let rect = area(LEFT + column as f32 * step, y, step, height - 1.0);
            figure.cell(rect, heat(score), tip, None);
        }
    }
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
    fn means_are_of_a_window_and_of_a_columns_steps() {
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
        let steps = [0.1, 0.5, 0.9].map(|score| Step {
            scores: vec![score],
            ..Step::default()
        });
        let steps: Vec<&Step> = steps.iter().collect();
        assert!((mean_score(&steps, 0).expect("three") - 0.5).abs() < 1e-6);
        assert_eq!(mean_score(&steps, 1), None);
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
