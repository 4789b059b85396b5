//! Tokens x layers: the routers' scores before pooling.

use super::{LEFT, View, short};
use crate::figure::{Figure, Table, area};
use crate::palette::heat;
use eframe::egui::pos2;
use first_wgpu::mask::Sublayer;
use first_wgpu::trace::Score;

fn name(score: &Score) -> String {
    let part = score
        .sublayer
        .map(|sublayer| Sublayer::from(sublayer).name());
    format!("L{:02} {}", score.layer, part.unwrap_or("layer"))
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let (run, palette) = (view.run(), &view.palette);
    let mut figure = Figure::default();
    if run.scores.is_empty() {
        let text =
            "This run had no router. Give one (`--router DIR`) and run with policy `routed`.";
        figure.text(pos2(LEFT, 20.0), palette.muted, text);
        return figure;
    }
    let tokens = run.prompt_pieces.len().max(1);
    let step = ((view.width - LEFT - 70.0) / tokens as f32).max(5.0);
    let end = LEFT + tokens as f32 * step;
    figure.text(pos2(end + 10.0, 8.0), palette.muted, "mean");
    for (row, score) in run.scores.iter().enumerate() {
        let y = 18.0 + 15.0 * row as f32;
        let runs = score.score >= score.threshold;
        let color = if runs { palette.text } else { palette.warning };
        figure.text_right(pos2(LEFT - 10.0, y + 7.0), color, name(score));
        for (column, value) in score.tokens.iter().enumerate().take(tokens) {
            let piece = short(&run.prompt_pieces[column], 24);
            let tip = format!("{}, token {column} “{piece}”: {value:.3}", name(score));
            let x = LEFT + column as f32 * step;
            figure.cell(area(x, y, step - 1.0, 14.0), heat(*value), tip, None);
        }
        let text = format!("{:.2} {}", score.score, if runs { "" } else { "skipped" });
        figure.text(pos2(end + 10.0, y + 7.0), color, text);
    }
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let run = view.run();
    let mut table = Table::new(&["layer", "sublayer", "token", "piece", "score"]);
    for score in &run.scores {
        for (token, (value, piece)) in score.tokens.iter().zip(&run.prompt_pieces).enumerate() {
            let part = score
                .sublayer
                .map(|sublayer| Sublayer::from(sublayer).name());
            table.rows.push(vec![
                score.layer.to_string(),
                part.unwrap_or("layer").to_owned(),
                token.to_string(),
                piece.clone(),
                value.to_string(),
            ]);
        }
    }
    table
}
