//! Prompts x layers: the mask of every run.

mod rows;

use super::{
    Action, LEFT, NO_RUN, State as Panels, Toolbar, View, choice, engine_button, legend, numbers,
    path_field, policy_word, shade, short, sublayers,
};
use crate::figure::{Figure, Heard, Table, area};
use crate::palette::{heat, ink_on};
use crate::session::Session;
use crate::stats::{TagDistances, tag_distances, wilson};
use eframe::egui::{Rangef, Ui, pos2};
use first_wgpu::mask::{LayerMask, Sublayer};
use first_wgpu::trace::Run;
use rows::{ORDERS, Order, Row, counted, grouped, policies, policy, rows, tag};
use std::path::PathBuf;

/// What the rows are, and the file of the prompt set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    order: Order,
    /// Runs of this one; without it, of that of the selected run.
    policy: Option<String>,
    path: String,
}

/// Left of the cells.
const NAMES: f32 = LEFT + 70.0;
/// From row to row.
const ROW: f32 = 18.0;
/// Above the numbers of layers.
const HEAD: f32 = 20.0;
/// From cell to cell of the distances.
const CELL: f32 = 64.0;
/// The height of the bars of frequencies.
const BARS: f32 = 54.0;

pub(super) fn toolbar(ui: &mut Ui, to: &mut Toolbar<'_>) -> Option<Action> {
    let mut action = None;
    let shown = policy(to.state, to.session).unwrap_or_default().to_owned();
    let policies = policies(to.state, to.session);
    let state = &mut to.state.masks;
    ui.horizontal_wrapped(|ui| {
        path_field(ui, "Prompt set", &mut state.path);
        if ui.button("Load").clicked() {
            action = Some(Action::Load(PathBuf::from(&state.path)));
        }
        let run = format!("Run all {}", to.prompts);
        if engine_button(ui, to.ready, &run).clicked() {
            action = Some(Action::RunSet);
        }
        let now = ORDERS.iter().find(|(order, _)| *order == state.order);
        choice(ui, "order", now.map_or("", |(_, name)| *name), |ui| {
            for (order, name) in ORDERS {
                ui.selectable_value(&mut state.order, order, name);
            }
        });
        choice(ui, "policy", &short(policy_word(&shown), 24), |ui| {
            ui.selectable_value(&mut state.policy, None, "that of the selected run");
            for policy in policies {
                let value = Some(policy.to_owned());
                ui.selectable_value(&mut state.policy, value, short(policy_word(policy), 40));
            }
        });
    });
    action
}

pub(super) fn heard(_: &Session, _: &mut Panels, heard: Heard) -> Option<Action> {
    heard.clicked.map(Action::Open)
}

/// Where the cells of a figure are.
struct Grid {
    step: f32,
}

impl Grid {
    fn left(&self, layer: usize, sublayer: Sublayer) -> f32 {
        let half = usize::from(sublayer == Sublayer::Mlp) as f32;
        NAMES + 10.0 + layer as f32 * self.step + half * (self.step - 2.0) / 2.0
    }

    fn width(&self) -> f32 {
        ((self.step - 2.0) / 2.0 - 0.5).max(1.0)
    }
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let Some(run) = view.run() else {
        return Figure::note(&view.palette, NO_RUN);
    };
    let layers = run.mask.layers();
    let policy = policy(view.state, view.session).unwrap_or_default();
    let rows = rows(view, policy, &run.model);
    let counted = counted(&rows);
    let step = ((view.width - NAMES - 18.0) / layers as f32).max(6.0);
    let grid = Grid { step };
    let mut figure = Figure::default();
    let text = format!(
        "Policy {}: {} runs of {} prompts; bars and distances are of the last run of each prompt",
        short(policy_word(policy), 60),
        rows.len(),
        counted.len()
    );
    figure.summary(pos2(8.0, 8.0), view.palette.text, text);
    let left = NAMES + 10.0;
    numbers(&mut figure, &view.palette, layers, left, step, HEAD + 8.0);
    frequencies(&mut figure, view, &grid, &counted);
    let mut top = HEAD + 24.0 + BARS + 16.0;
    let masks = counted.iter().map(|run| (tag(run), &run.mask));
    let masks: Vec<(&str, &LayerMask)> = masks.collect();
    let tags = tag_count(&masks);
    if tags > 1 {
        let height = 50.0 + 20.0 * tags as f32;
        // All pairs of masks: not worth it while it is out of sight.
        if view
            .visible
            .y_range()
            .intersects(Rangef::new(top, top + height))
        {
            matrix(&mut figure, view, &tag_distances(&masks), top);
        }
        top += height;
    }
    let names = legend::sublayers(&view.palette);
    legend::named(&mut figure, &view.palette, pos2(left, top + 6.0), names);
    top += 24.0;
    let grouped = grouped(view, &rows);
    for (index, row) in grouped.iter().enumerate() {
        let y = top + ROW * index as f32;
        let seen = view.visible.y_range().intersects(Rangef::new(y, y + ROW));
        // The last row is always placed: it makes the figure its size.
        if seen || index + 1 == grouped.len() {
            draw_row(&mut figure, view, &grid, row, y);
        }
    }
    figure
}

fn tag_count(masks: &[(&str, &LayerMask)]) -> usize {
    let tags: std::collections::BTreeSet<&str> = masks.iter().map(|(tag, _)| *tag).collect();
    tags.len()
}

/// How often each sublayer is skipped: a bar, and a line for its interval.
fn frequencies(figure: &mut Figure, view: &View<'_>, grid: &Grid, runs: &[&Run]) {
    let palette = &view.palette;
    let Some(first) = runs.first() else { return };
    let (low, high) = (HEAD + 20.0 + BARS, HEAD + 20.0);
    let right = grid.left(first.mask.layers(), Sublayer::Attn) - 2.0;
    for (share, y) in [("100 %", high), ("0", low)] {
        figure.text_right(pos2(NAMES, y), palette.muted, share);
        figure.line(
            vec![pos2(NAMES + 10.0, y), pos2(right, y)],
            palette.line,
            1.0,
        );
    }
    figure.text_right(
        pos2(NAMES - 40.0, high + BARS / 2.0),
        palette.muted,
        "how often skipped",
    );
    for (layer, sublayer) in sublayers(&first.mask) {
        let skips = |run: &&&Run| !run.mask.runs(layer, sublayer);
        let count = runs.iter().filter(skips).count();
        let share = count as f64 / runs.len() as f64;
        let interval = wilson(count, runs.len());
        let tip = format!(
            "L{layer:02} {}: skipped for {count} of {} prompts, {:.0} % (95 % interval {:.0} to {:.0} %)",
            sublayer.name(),
            runs.len(),
            100.0 * share,
            100.0 * interval.0,
            100.0 * interval.1
        );
        let y = |share: f64| low - BARS * share as f32;
        let (x, width) = (grid.left(layer, sublayer), grid.width());
        let bar = area(x, y(share) - 1.0, width, low - y(share) + 1.0);
        figure.cell(bar, shade(palette, sublayer, true), tip, None);
        let middle = x + width / 2.0;
        let ends = vec![pos2(middle, y(interval.0)), pos2(middle, y(interval.1))];
        figure.line(ends, palette.text, 1.0);
    }
}

/// Mean Jaccard distance of what the masks of two tags skip.
fn matrix(figure: &mut Figure, view: &View<'_>, tags: &TagDistances, top: f32) {
    let palette = &view.palette;
    let text =
        "Mean Jaccard distance of what the masks skip, tag by tag; on the diagonal, within a tag";
    figure.text(pos2(NAMES + 10.0, top + 4.0), palette.muted, text);
    for (column, name) in tags.names.iter().enumerate() {
        let x = NAMES + 10.0 + CELL * column as f32;
        let seen = view.visible.x_range().intersects(Rangef::new(x, x + CELL));
        if seen {
            let middle = pos2(x + CELL / 2.0 - 1.0, top + 22.0);
            figure.text_middle(middle, palette.text, short(name, 9));
        }
    }
    for (row, values) in tags.mean.iter().enumerate() {
        let y = top + 32.0 + 20.0 * row as f32;
        // The last row and column are always placed: they make the figure its size.
        let last = row + 1 == tags.mean.len();
        if !last && !view.visible.y_range().intersects(Rangef::new(y, y + 20.0)) {
            continue;
        }
        let name = short(&tags.names[row], 28);
        figure.text_right(pos2(NAMES, y + 9.0), palette.text, name);
        for (column, value) in values.iter().enumerate() {
            let x = NAMES + 10.0 + CELL * column as f32;
            let seen = view.visible.x_range().intersects(Rangef::new(x, x + CELL));
            if column + 1 < values.len() && !seen {
                continue;
            }
            let rect = area(x, y, CELL - 2.0, 18.0);
            let Some(value) = value else {
                // A tag of one run.
                figure.text_middle(rect.center(), palette.muted, "-");
                continue;
            };
            let tip = format!("{} and {}: {value:.3}", tags.names[row], tags.names[column]);
            let fill = heat(*value as f32);
            figure.cell(rect, fill, tip, None);
            figure.text_middle(rect.center(), ink_on(fill), format!("{value:.2}"));
        }
    }
}

fn draw_row(figure: &mut Figure, view: &View<'_>, grid: &Grid, row: &Row<'_>, y: f32) {
    let palette = &view.palette;
    let (index, run) = match row {
        Row::Tag(tag, count) => {
            let text = format!("{} · {count}", short(tag, 24));
            return figure.text(pos2(8.0, y + 9.0), palette.muted, text);
        }
        Row::Run(index, run) => (*index, *run),
    };
    let color = if index == view.state.selected {
        palette.accent
    } else {
        palette.text
    };
    let name = format!("{}  {}", index + 1, short(&run.prompt, 30));
    figure.text_right(pos2(NAMES, y + 8.0), color, name);
    let of = format!("run {}: {}", index + 1, short(&run.prompt, 80));
    for (layer, sublayer) in sublayers(&run.mask) {
        let runs = run.mask.runs(layer, sublayer);
        let state = if runs { "runs" } else { "skipped" };
        let name = sublayer.name();
        let tip = format!("L{layer:02} {name}: {state}\n{of}");
        let rect = area(grid.left(layer, sublayer), y, grid.width(), ROW - 2.0);
        figure.cell(rect, shade(palette, sublayer, runs), tip, Some(index));
    }
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "run", "tag", "model", "prompt", "policy", "layer", "sublayer", "runs",
    ]);
    for (index, run) in view.session.runs.iter().enumerate() {
        for (layer, sublayer) in sublayers(&run.mask) {
            table.rows.push(vec![
                (index + 1).into(),
                run.tag.as_deref().unwrap_or_default().into(),
                run.model.name.as_str().into(),
                short(&run.prompt, 80).into(),
                run.policy.as_str().into(),
                layer.into(),
                sublayer.name().into(),
                run.mask.runs(layer, sublayer).to_string().into(),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests;
