//! Prompts x layers: the mask of every run.

use super::{LEFT, View, index, short, sublayers};
use crate::figure::{Figure, Table, area};
use crate::palette::heat;
use crate::stats::{jaccard, wilson};
use eframe::egui::pos2;
use first_wgpu::mask::Sublayer;
use first_wgpu::trace::Run;
use std::collections::BTreeMap;

/// Runs of one model shape, by tag, then in the order in which they were made.
fn rows<'a>(view: &View<'a>) -> Vec<(usize, &'a Run)> {
    let layers = view.run().mask.layers();
    let same = |(_, run): &(usize, &Run)| run.mask.layers() == layers;
    let mut rows: Vec<_> = view.runs.iter().enumerate().filter(same).collect();
    rows.sort_by_key(|(_, run)| run.tag.clone());
    rows
}

/// How many of the runs skip a sublayer.
fn skipped(rows: &[(usize, &Run)], layer: usize, sublayer: Sublayer) -> usize {
    rows.iter()
        .filter(|(_, run)| !run.mask.runs(layer, sublayer))
        .count()
}

/// Mean Jaccard distance of the masks of each pair of tags; a tag of one run has none to itself.
fn distances(rows: &[(usize, &Run)]) -> (Vec<String>, Vec<Vec<Option<f64>>>) {
    let mut tags: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for (_, run) in rows {
        tags.entry(run.tag.as_deref().unwrap_or("untagged"))
            .or_default()
            .push(run);
    }
    let distance = |a: &[&Run], b: &[&Run]| {
        let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
        let others: Vec<f64> = pairs
            .filter(|(a, b)| !std::ptr::eq(**a, **b))
            .map(|(a, b)| jaccard(&a.mask, &b.mask))
            .collect();
        (!others.is_empty()).then(|| others.iter().sum::<f64>() / others.len() as f64)
    };
    let matrix = tags
        .values()
        .map(|a| tags.values().map(|b| distance(a, b)).collect());
    (
        tags.keys().map(|tag| (*tag).to_owned()).collect(),
        matrix.collect(),
    )
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let (rows, palette) = (rows(view), &view.palette);
    let mask = &view.run().mask;
    let step = (view.width - LEFT - 90.0) / mask.layers().max(1) as f32;
    let mut figure = Figure::default();
    let place = |layer: usize, sublayer: Sublayer| {
        let half = usize::from(sublayer == Sublayer::Mlp) as f32;
        LEFT + 80.0 + layer as f32 * step + half * (step - 2.0) / 2.0
    };
    let width = (step - 2.0) / 2.0 - 0.5;
    figure.text_right(pos2(LEFT + 70.0, 12.0), palette.muted, "skipped, share");
    for (layer, sublayer) in sublayers(mask) {
        let count = skipped(&rows, layer, sublayer);
        let share = count as f64 / rows.len() as f64;
        let (low, high) = wilson(count, rows.len());
        let tip = format!(
            "L{layer:02} {}: skipped by {count} of {} runs, {:.0} % (95 % interval {:.0} to {:.0} %)",
            sublayer.name(),
            rows.len(),
            100.0 * share,
            100.0 * low,
            100.0 * high
        );
        let rect = area(place(layer, sublayer), 4.0, width, 18.0);
        figure.cell(rect, heat(share as f32), tip, None);
    }
    for (row, (run_index, run)) in rows.iter().enumerate() {
        let y = 32.0 + 20.0 * row as f32;
        let color = if *run_index == view.selected {
            palette.accent
        } else {
            palette.text
        };
        let tag = run
            .tag
            .as_deref()
            .map_or(String::new(), |tag| format!("{tag}: "));
        let name = short(&format!("{tag}{}", run.prompt), 32);
        figure.text_right(pos2(LEFT + 70.0, y + 9.0), color, name);
        for (layer, sublayer) in sublayers(&run.mask) {
            let on = if sublayer == Sublayer::Attn {
                palette.accent
            } else {
                palette.second
            };
            let runs = run.mask.runs(layer, sublayer);
            let fill = if runs { on } else { palette.skipped };
            let state = if runs { "runs" } else { "skipped" };
            let tip = format!(
                "L{layer:02} {}: {state}\n{}",
                sublayer.name(),
                short(&run.prompt, 80)
            );
            let rect = area(place(layer, sublayer), y, width, 18.0);
            figure.cell(rect, fill, tip, Some(*run_index));
        }
    }
    let (tags, matrix) = distances(&rows);
    let top = 56.0 + 20.0 * rows.len() as f32;
    if tags.len() > 1 {
        figure.text(
            pos2(LEFT, top),
            palette.muted,
            "Mean Jaccard distance of what the masks skip, tag by tag",
        );
        for (row, values) in matrix.iter().enumerate() {
            let y = top + 16.0 + 22.0 * row as f32;
            figure.text_right(
                pos2(LEFT + 70.0, y + 10.0),
                palette.text,
                short(&tags[row], 24),
            );
            for (column, value) in values.iter().enumerate() {
                let Some(value) = value else { continue };
                let x = LEFT + 80.0 + 44.0 * column as f32;
                let tip = format!("{} and {}: {value:.2}", tags[row], tags[column]);
                let fill = heat(*value as f32);
                figure.cell(area(x, y, 42.0, 20.0), fill, tip, None);
                let ink = crate::palette::ink_on(fill);
                figure.text(pos2(x + 9.0, y + 10.0), ink, format!("{value:.2}"));
            }
        }
    }
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "run", "tag", "prompt", "policy", "layer", "sublayer", "runs",
    ]);
    for (run_index, run) in rows(view) {
        let mut cells: Vec<_> = sublayers(&run.mask).collect();
        cells.sort_by_key(|(layer, sublayer)| index(*layer, *sublayer));
        for (layer, sublayer) in cells {
            table.rows.push(vec![
                run_index.to_string(),
                run.tag.clone().unwrap_or_default(),
                run.prompt.clone(),
                run.policy.clone(),
                layer.to_string(),
                sublayer.name().to_owned(),
                run.mask.runs(layer, sublayer).to_string(),
            ]);
        }
    }
    table
}
