//! Two runs side by side, and a run against the full model.

mod answers;
mod lines;

use super::{
    Action, LEFT, NO_RUN, Toolbar, View, engine_button, legend, numbers, other_run, shade, short,
    sublayers,
};
use crate::figure::{Figure, Table, Value, area};
use crate::plot::Plot;
use crate::session::Agreement;
use eframe::egui::{Ui, pos2};
use first_wgpu::trace::Run;
use lines::{lines, part};

/// Right of the names of rows: the other run, this run, what the difference is.
const COLUMNS: [f32; 3] = [LEFT, LEFT + 210.0, LEFT + 420.0];

pub(super) fn toolbar(ui: &mut Ui, to: &mut Toolbar<'_>) -> Option<Action> {
    let runs = &to.session.runs;
    let run = runs.get(to.state.selected)?;
    let mut action = None;
    ui.horizontal_wrapped(|ui| {
        let mut other = Some(to.state.other);
        other_run(ui, runs, to.state.selected, &mut other, false, |_| true);
        to.state.other = other.unwrap_or(to.state.other);
        let ready = to.ready && !run.answer_ids.is_empty();
        if engine_button(ui, ready, "Measure against the full model").clicked() {
            action = Some(Action::Agreement);
        }
    });
    action
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let (Some(a), Some(b)) = (view.other(), view.run()) else {
        return Figure::note(palette, NO_RUN);
    };
    let mut figure = Figure {
        about: format!(
            "Run {} beside run {}: {}",
            view.state.selected + 1,
            view.state.other + 1,
            short(&b.prompt, 80)
        ),
        ..Figure::default()
    };
    for (x, head) in COLUMNS
        .into_iter()
        .zip(["other run", "this run", "this less the other"])
    {
        figure.text(pos2(x, 12.0), palette.muted, head);
    }
    let mut y = 34.0;
    for cells in lines(view, a, b) {
        let [name, other, this, about] = &cells;
        let mut tip = format!("{name}: other run {other}, this run {this}");
        if !about.is_empty() {
            tip += &format!("; {about}");
        }
        figure.row(area(8.0, y - 10.0, view.width - 18.0, 20.0), tip);
        figure.text_right(pos2(LEFT - 10.0, y), palette.muted, short(&cells[0], 22));
        for (x, cell) in COLUMNS.iter().zip(&cells[1..]) {
            let about = *x == COLUMNS[2];
            let color = if about { palette.muted } else { palette.text };
            figure.text(pos2(*x, y), color, cell.clone());
        }
        y += 20.0;
    }
    if a.mask.layers() == b.mask.layers() {
        masks(&mut figure, view, [a, b], y);
        y += 128.0;
    }
    y = answers::draw(&mut figure, view, [&a.answer, &b.answer], y);
    if let Some(agreement) = view.session.agreement(view.state.selected) {
        divergences(&mut figure, view, b, agreement, y);
    }
    figure
}

/// Both masks; what runs in one alone stands out.
fn masks(figure: &mut Figure, view: &View<'_>, [a, b]: [&Run; 2], top: f32) {
    let palette = &view.palette;
    let step = ((view.width - LEFT - 8.0) / b.mask.layers() as f32).max(4.0);
    numbers(figure, palette, b.mask.layers(), LEFT, step, top + 4.0);
    let top = top + 16.0;
    for (row, (name, run)) in [("other run", a), ("this run", b)].into_iter().enumerate() {
        let y = top + 40.0 * row as f32;
        figure.text_right(pos2(LEFT - 10.0, y + 16.0), palette.muted, name);
        for (layer, sublayer) in sublayers(&run.mask) {
            let half = 16.0 * (sublayer as usize) as f32;
            let rect = area(LEFT + layer as f32 * step, y + half, step - 2.0, 15.0);
            let runs = run.mask.runs(layer, sublayer);
            let differ = a.mask.runs(layer, sublayer) != b.mask.runs(layer, sublayer);
            let fill = if runs && differ {
                palette.text
            } else {
                shade(palette, sublayer, runs)
            };
            let state = if runs { "runs" } else { "skipped" };
            let but = if differ { ", unlike in the other" } else { "" };
            let tip = format!("L{layer:02} {}: {state}{but}", sublayer.name());
            figure.cell(rect, fill, tip, None);
        }
    }
    let alone = [(palette.text, "runs in this one alone")];
    let names = legend::sublayers(palette).into_iter().chain(alone);
    legend::named(figure, palette, pos2(LEFT, top + 84.0), names);
}

/// How far this run is from the full model at each token of its answer.
fn divergences(figure: &mut Figure, view: &View<'_>, run: &Run, agreement: &Agreement, top: f32) {
    let palette = &view.palette;
    let points = agreement.kl.iter().enumerate();
    let points = points.map(|(index, kl)| (index as f64 + 1.0, f64::from(*kl)));
    let tokens = format!(
        "token of the answer{}, given what this run has answered so far",
        part(agreement, run)
    );
    let titles = [
        "KL divergence of this run from the full model, in nats",
        &tokens,
    ];
    let [same, another] = [palette.accent, palette.text];
    let rect = area(LEFT - 56.0, top, view.width - LEFT + 48.0, 170.0);
    // From zero on, with room around the first and the last.
    let end = agreement.kl.len() as f64 + 1.0;
    let from_zero = points.clone().chain([(0.0, 0.0), (end, 0.0)]);
    let plot = Plot::new(figure, palette, rect, titles, from_zero);
    let names = [
        (same, "both find the same token likeliest"),
        (another, "another"),
    ];
    legend::named(figure, palette, pos2(LEFT + 330.0, top + 8.0), names);
    let step = plot.place(1.0, 0.0).x - plot.place(0.0, 0.0).x;
    let width = (0.7 * step).clamp(1.0, 14.0);
    for ((index, kl), agrees) in points.zip(&agreement.agrees) {
        let (low, high) = (plot.place(index, 0.0), plot.place(index, kl));
        let (fill, which) = if *agrees {
            (same, "the same")
        } else {
            (another, "another")
        };
        let tip = format!("token {index}: {kl:.4} nats, {which} token is likeliest, measured");
        let rect = area(
            low.x - width / 2.0,
            high.y,
            width,
            (low.y - high.y).max(1.0),
        );
        figure.cell(rect, fill, tip, None);
    }
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&["what", "other", "this", "difference"]);
    let (Some(a), Some(b)) = (view.other(), view.run()) else {
        return table;
    };
    let lines = lines(view, a, b).into_iter();
    table
        .rows
        .extend(lines.map(|cells| cells.map(Value::from).into()));
    if let Some(agreement) = view.session.agreement(view.state.selected) {
        let pairs = agreement.kl.iter().zip(&agreement.agrees).enumerate();
        table.rows.extend(pairs.map(|(index, (kl, agrees))| {
            let what = format!("KL from full at token {}", index + 1);
            let same = if *agrees {
                "same likeliest token"
            } else {
                "another likeliest token"
            };
            vec![what.into(), Value::Empty, (*kl).into(), same.into()]
        }));
    }
    table
}
