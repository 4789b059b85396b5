//! All runs, a row each: what ran, what it answered, what it cost.

use super::{Action, State, View, millis, short};
use crate::figure::{Figure, Heard, Table, area};
use crate::session::Session;
use eframe::egui::{Color32, Rangef, pos2};
use first_wgpu::trace::Run;

/// From row to row.
const ROW: f32 = 20.0;
/// Above the first.
const TOP: f32 = 44.0;

/// A column: its name, how its numbers come about, its left edge.
const COLUMNS: [(&str, &str, f32); 9] = [
    ("run", "", 8.0),
    ("tag", "", 44.0),
    ("policy", "", 130.0),
    ("skipped", "counted", 250.0),
    ("TTFT", "measured", 318.0),
    ("TPOT", "measured", 390.0),
    ("tokens", "counted", 466.0),
    ("prompt", "", 522.0),
    ("answer", "", 730.0),
];

pub(super) fn heard(_: &Session, _: &mut State, heard: Heard) -> Option<Action> {
    heard.clicked.map(Action::Open)
}

fn cells(index: usize, run: &Run, width: f32) -> [String; 9] {
    let tpot = run.tpot_nanos();
    let room = ((width - COLUMNS[8].2) / 6.2).max(12.0) as usize;
    [
        (index + 1).to_string(),
        short(run.tag.as_deref().unwrap_or("-"), 12),
        short(&run.policy, 18),
        format!("{:.1} %", 100.0 * run.model.skip_rate(&run.mask)),
        format!("{:.0} ms", millis(run.ttft_nanos)),
        tpot.map_or("-".to_owned(), |nanos| format!("{:.1} ms", millis(nanos))),
        run.answer_ids.len().to_string(),
        short(&run.prompt, 30),
        short(&run.answer, room),
    ]
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let runs = &view.session.runs;
    if runs.is_empty() {
        return Figure::note(palette, super::NO_RUN);
    }
    let mut figure = Figure::default();
    for (name, how, x) in COLUMNS {
        figure.text(pos2(x, 10.0), palette.text, name);
        figure.text(pos2(x, 24.0), palette.muted, how);
    }
    for (index, run) in runs.iter().enumerate() {
        let y = TOP + ROW * index as f32;
        let seen = view.visible.y_range().intersects(Rangef::new(y, y + ROW));
        // The last row is always placed: it makes the figure its size.
        if !seen && index + 1 < runs.len() {
            continue;
        }
        let selected = index == view.state.selected;
        let fill = match (selected, index % 2) {
            (true, _) => palette.skipped,
            (false, 1) => palette.surface,
            (false, _) => Color32::TRANSPARENT,
        };
        let tip = format!("{}\n\n{}", short(&run.prompt, 200), short(&run.answer, 400));
        let rect = area(0.0, y - ROW / 2.0, view.width, ROW);
        figure.cell(rect, fill, tip, Some(index));
        for ((_, _, x), cell) in COLUMNS.into_iter().zip(cells(index, run, view.width)) {
            figure.text(pos2(x, y), palette.text, cell);
        }
    }
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "run",
        "tag",
        "policy",
        "skips",
        "weights_skipped",
        "ttft_ms",
        "tpot_ms",
        "tokens",
        "kv_bytes",
        "prompt",
        "answer",
    ]);
    for (index, run) in view.session.runs.iter().enumerate() {
        let tpot = run.tpot_nanos();
        table.rows.push(vec![
            (index + 1).into(),
            run.tag.as_deref().unwrap_or_default().into(),
            run.policy.as_str().into(),
            run.mask.to_string().into(),
            run.model.skip_rate(&run.mask).into(),
            millis(run.ttft_nanos).into(),
            tpot.map(millis).into(),
            run.answer_ids.len().into(),
            run.kv_bytes.into(),
            run.prompt.as_str().into(),
            run.answer.as_str().into(),
        ]);
    }
    table
}
