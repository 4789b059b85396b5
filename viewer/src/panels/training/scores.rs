//! The routers' scores over a training.

use super::super::{LEFT, View, legend};
use crate::figure::{Figure, area};
use crate::palette::heat;
use crate::plot::Plot;
use crate::training::{Log, Step};
use eframe::egui::{Rangef, pos2};

/// Columns of the map; of more steps a column has the mean of several.
const MOST_COLUMNS: usize = 160;

/// The mean of a router's scores over some steps; `None` where none has any.
fn mean_score(steps: &[&Step], router: usize) -> Option<f32> {
    let scores = steps.iter().filter_map(|step| step.scores.get(router));
    let (sum, count) = scores.fold((0.0, 0.0), |(sum, count), score| (sum + score, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// The routers' mean scores, a row a router, a column a step or the mean of several, below a plot over the same steps.
pub(super) fn draw(figure: &mut Figure, view: &View<'_>, log: &Log, plot: &Plot, top: f32) {
    let with: Vec<&Step> = log
        .steps
        .iter()
        .filter(|step| !step.scores.is_empty())
        .collect();
    let Some(last) = with.last() else { return };
    let routers = last.scores.len();
    let columns = with.len().min(MOST_COLUMNS);
    let palette = &view.palette;
    let title = "Mean score of each router, by step";
    figure.text(pos2(LEFT, top), palette.text, title);
    legend::scores(figure, palette, pos2(LEFT + 330.0, top), None);
    // Tasks take turns: one step of several would always be of the same ones.
    let at = |column: usize| column * with.len() / columns;
    // Up to its last step from that of the column before.
    let edges = edges(&with);
    let edge = |column: usize| plot.place(edges[at(column)], 0.0).x;
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
            let steps = &with[at(column)..at(column + 1)];
            let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
                continue;
            };
            let Some(score) = mean_score(steps, router) else {
                continue;
            };
            let tip = if first.step == last.step {
                format!("{name}, step {}: {score:.3}", last.step)
            } else {
                format!("{name}, steps {} to {}: {score:.3}", first.step, last.step)
            };
            let (left, right) = (edge(column), edge(column + 1));
            let rect = area(left, y, right - left, height - 1.0);
            figure.cell(rect, heat(score), tip, None);
        }
    }
    plot.x_numbers(figure, palette, top + 16.0 + height * routers as f32);
}

/// Where the time of each step begins, and where that of the last ends: it goes from the step before, the first as far.
fn edges(steps: &[&Step]) -> Vec<f64> {
    let ends: Vec<f64> = steps.iter().map(|step| step.step as f64).collect();
    let (first, second) = (ends[0], *ends.get(1).unwrap_or(&(ends[0] + 1.0)));
    [first - (second - first)].into_iter().chain(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_step_is_from_the_one_before() {
        let steps = |steps: &[u64]| -> Vec<f64> {
            let step = |step: &u64| Step {
                step: *step,
                ..Step::default()
            };
            let steps: Vec<Step> = steps.iter().map(step).collect();
            edges(&steps.iter().collect::<Vec<_>>())
        };
        assert_eq!(steps(&[10, 20, 40]), [0.0, 10.0, 20.0, 40.0]);
        assert_eq!(steps(&[7]), [6.0, 7.0]);
    }

    #[test]
    fn means_are_of_a_columns_steps() {
        let steps = [0.1, 0.5, 0.9].map(|score| Step {
            scores: vec![score],
            ..Step::default()
        });
        let steps: Vec<&Step> = steps.iter().collect();
        assert!((mean_score(&steps, 0).expect("three") - 0.5).abs() < 1e-6);
        assert_eq!(mean_score(&steps, 1), None);
    }
}
