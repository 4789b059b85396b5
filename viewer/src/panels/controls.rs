//! Policies at the same rate: none, routed, fixed, random, evenly spaced.

use super::{Action, LEFT, Toolbar, View, engine_button, known, short};
use crate::figure::{Figure, Table, area};
use crate::plot::Plot;
use crate::session::{Control, Measured};
use crate::stats::mean;
use eframe::egui::{Ui, pos2, vec2};
use first_wgpu::bench::statistics::{change, paired_difference};

pub(super) fn toolbar(ui: &mut Ui, to: &mut Toolbar<'_>) -> Option<Action> {
    let mut action = None;
    ui.horizontal_wrapped(|ui| {
        let text = format!("Compare on the {} prompts of the set", to.prompts);
        if engine_button(ui, to.ready && to.has_router, &text).clicked() {
            action = Some(Action::Controls);
        }
        if !to.has_router {
            ui.weak("needs a router (`--router DIR`)");
        }
    });
    action
}

/// What is said of a policy, each beside the first.
struct Row<'a> {
    control: &'a Control,
    skipped: f64,
    masks: usize,
    loss: f64,
    /// Mean and half the width of its 95 % interval.
    against: Option<(f64, f64)>,
    /// The mean, in milliseconds.
    tpot: f64,
    faster: Option<(f64, f64)>,
}

fn rows(controls: &[Control]) -> Vec<Row<'_>> {
    let Some(first) = controls.first() else {
        return Vec::new();
    };
    controls
        .iter()
        .map(|control| {
            let masks: std::collections::BTreeSet<&String> = control.masks.iter().collect();
            Row {
                control,
                skipped: mean(&control.skipped),
                masks: masks.len(),
                loss: mean(&control.losses),
                against: paired_difference(&first.losses, &control.losses),
                tpot: mean(&control.tpot_nanos) / 1e6,
                faster: change(&first.tpot_nanos, &control.tpot_nanos),
            }
        })
        .collect()
}

/// A column: its name, how its numbers come about, its right edge.
const COLUMNS: [(&str, &str, f32); 6] = [
    ("weights skipped", "counted", 90.0),
    ("masks", "counted", 150.0),
    ("loss, nats a token", "measured", 270.0),
    ("against none ± 95 %", "derived", 410.0),
    ("TPOT, mean", "measured", 500.0),
    ("against none ± 95 %", "derived", 640.0),
];

impl Row<'_> {
    fn cells(&self) -> [String; 6] {
        let own = self.control.name != "none";
        let change = |change: Option<(f64, f64)>, scale: f64, unit: &str, digits: usize| {
            let finite = |change: &(f64, f64)| change.0.is_finite() && change.1.is_finite();
            let change = change.filter(|change| own && finite(change));
            change.map_or("-".to_owned(), |(mean, half)| {
                let (mean, half) = (scale * mean, scale * half);
                format!("{mean:+.digits$} ± {half:.digits$}{unit}")
            })
        };
        [
            known(self.skipped, format!("{:.1} %", 100.0 * self.skipped)),
            self.masks.to_string(),
            known(self.loss, format!("{:.3}", self.loss)),
            change(self.against, 1.0, "", 3),
            known(self.tpot, format!("{:.2} ms", self.tpot)),
            change(self.faster, 100.0, " %", 1),
        ]
    }

    /// The same in words.
    fn said(&self) -> String {
        let cells = COLUMNS.into_iter().zip(self.cells());
        let cells: Vec<String> = cells
            .map(|((name, ..), cell)| format!("{name} {cell}"))
            .collect();
        format!("{}: {}", self.control.name, cells.join("; "))
    }
}

/// Of how much the numbers are.
fn extent(rows: &[Row<'_>]) -> String {
    let prompts = rows.iter().map(|row| row.control.losses.len()).max();
    let times = rows.iter().map(|row| row.control.tpot_nanos.len()).min();
    let prompts = prompts.unwrap_or(0);
    let times = match times.unwrap_or(0) {
        0 => "no time is known".to_owned(),
        1 => "1 repetition was timed, of 1 of the prompts".to_owned(),
        // Each is of another prompt, as far as there are any.
        count => {
            let timed = count.min(prompts);
            format!("{count} repetitions were timed, of {timed} of the prompts")
        }
    };
    let tokens: usize = rows
        .first()
        .map_or(0, |row| row.control.tokens.iter().sum());
    let tokens = match tokens {
        0 => String::new(),
        count => format!(", {count} tokens of their answers"),
    };
    format!("Losses of {prompts} prompts{tokens}; {times}")
}

/// Of what model on what GPU they are.
fn measured_of(of: &Measured) -> String {
    format!(
        "Measured with {} on {}",
        short(&of.model, 60),
        short(&of.gpu, 50)
    )
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let rows = rows(&view.session.controls);
    if rows.is_empty() {
        let text = "Not measured yet. Loss is taken on the set's completions, or where it has none on the \
                    full model's own answers.";
        return Figure::note(palette, text);
    }
    let mut figure = Figure::default();
    for (name, how, x) in COLUMNS {
        figure.text_right(pos2(LEFT + x, 10.0), palette.text, name);
        figure.text_right(pos2(LEFT + x, 24.0), palette.muted, how);
    }
    for (index, row) in rows.iter().enumerate() {
        let y = 48.0 + 22.0 * index as f32;
        let whole = LEFT + COLUMNS[COLUMNS.len() - 1].2;
        figure.row(area(8.0, y - 11.0, whole - 8.0, 22.0), row.said());
        let rect = area(8.0, y - 6.0, 12.0, 12.0);
        figure.cell(rect, palette.series(index), String::new(), None);
        figure.text(pos2(28.0, y), palette.text, row.control.name.clone());
        for ((_, _, x), cell) in COLUMNS.into_iter().zip(row.cells()) {
            figure.text_right(pos2(LEFT + x, y), palette.text, cell);
        }
    }
    let below = 48.0 + 22.0 * rows.len() as f32;
    figure.summary(pos2(LEFT, below), palette.muted, extent(&rows));
    if let Some(of) = &view.session.controls_of {
        let of = measured_of(of);
        figure.about += &format!("; {of}");
        figure.text(pos2(LEFT, below + 18.0), palette.muted, of);
    }
    let top = below + 44.0;
    let titles = [
        "Loss against time per output token (TPOT): to the lower left is better; lines are 95 % intervals of the change",
        "TPOT, ms",
    ];
    let first = &rows[0];
    let half = |change: Option<(f64, f64)>| change.map_or(0.0, |(_, half)| half);
    let intervals = |row: &Row<'_>| {
        let (loss, tpot) = (half(row.against), first.tpot * half(row.faster));
        let at = |x: f64, y: f64| (row.tpot + x, row.loss + y);
        [
            [at(0.0, -loss), at(0.0, loss)],
            [at(-tpot, 0.0), at(tpot, 0.0)],
        ]
    };
    let points = rows.iter().flat_map(|row| {
        let at = [(row.tpot, row.loss)];
        at.into_iter().chain(intervals(row).into_iter().flatten())
    });
    let rect = area(
        LEFT - 60.0,
        top,
        (view.width - LEFT + 52.0).min(900.0),
        280.0,
    );
    let plot = Plot::new(&mut figure, palette, rect, titles, points);
    for (index, row) in rows.iter().enumerate() {
        // Without answers of two tokens there is no time, and no place.
        if !(row.tpot.is_finite() && row.loss.is_finite()) {
            continue;
        }
        let color = palette.series(index);
        for interval in intervals(row) {
            plot.interval(&mut figure, color, interval);
        }
        let at = (row.tpot, row.loss);
        plot.dot(&mut figure, color, at, row.said());
        // Where there is more room.
        let place = plot.place(at.0, at.1);
        let name = row.control.name.clone();
        if place.x > rect.center().x {
            figure.text_right(place + vec2(-8.0, -8.0), palette.text, name)
        } else {
            figure.text(place + vec2(8.0, -8.0), palette.text, name)
        }
    }
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "policy",
        "weights_skipped",
        "masks",
        "loss",
        "loss_against_none",
        "loss_half_interval",
        "tpot_ms",
        "tpot_change",
        "tpot_half_interval",
    ]);
    for row in rows(&view.session.controls) {
        let mean = |interval: Option<(f64, f64)>| interval.map(|(mean, _)| mean);
        let half = |interval: Option<(f64, f64)>| interval.map(|(_, half)| half);
        table.rows.push(vec![
            row.control.name.as_str().into(),
            row.skipped.into(),
            row.masks.into(),
            row.loss.into(),
            mean(row.against).into(),
            half(row.against).into(),
            row.tpot.into(),
            mean(row.faster).into(),
            half(row.faster).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::testing::view;
    use super::*;
    use crate::session::Session;

    #[test]
    fn how_much_was_measured_is_said() {
        let control = |times| Control {
            losses: vec![2.0; 3],
            tpot_nanos: vec![1e6; times],
            ..Control::default()
        };
        let said = |times: [usize; 2]| extent(&rows(&times.map(control)));
        assert_eq!(
            said([5, 5]),
            "Losses of 3 prompts; 5 repetitions were timed, of 3 of the prompts"
        );
        assert!(said([2, 2]).ends_with("2 repetitions were timed, of 2 of the prompts"));
        assert!(said([2, 1]).ends_with("1 repetition was timed, of 1 of the prompts"));
        let with_tokens = Control {
            tokens: vec![4, 5, 6],
            ..control(5)
        };
        let of = Measured {
            model: "a model".to_owned(),
            gpu: "a GPU".to_owned(),
        };
        let session = Session {
            controls: vec![with_tokens.clone()],
            controls_of: Some(of),
            ..Session::default()
        };
        let about = figure(&view(&session, &State::default())).about;
        assert!(
            about.ends_with("; Measured with a model on a GPU"),
            "{about}"
        );
        let said_of = extent(&rows(&[with_tokens]));
        assert!(said_of.starts_with("Losses of 3 prompts, 15 tokens of their answers;"));
        assert!(said([0, 0]).ends_with("no time is known"));
    }
}
