//! The routers' scores over a training.

use super::super::{LEFT, View, legend};
use crate::figure::{Figure, area};
use crate::palette::heat;
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

/// The routers' mean scores, a row a router, a column a step or the mean of several.
pub(super) fn draw(figure: &mut Figure, view: &View<'_>, log: &Log, top: f32) {
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
    legend::scores(figure, palette, pos2(LEFT + 330.0, top), None);
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
            let tip = if first.step == last.step {
                format!("{name}, step {}: {score:.3}", last.step)
            } else {
                format!("{name}, steps {} to {}: {score:.3}", first.step, last.step)
            };
            let rect = area(LEFT + column as f32 * step, y, step, height - 1.0);
            figure.cell(rect, heat(score), tip, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
