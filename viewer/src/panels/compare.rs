//! Two runs side by side.

use super::{LEFT, View, millis, short, sublayers};
use crate::figure::{Figure, Table, area};
use crate::stats::{common_prefix, difference, jaccard};
use eframe::egui::pos2;
use first_wgpu::mask::Sublayer;
use first_wgpu::trace::Run;

fn token_millis(run: &Run) -> Vec<f64> {
    run.token_nanos.iter().map(|nanos| millis(*nanos)).collect()
}

/// What is compared, of the other run, of this run, and what the difference means.
fn lines(view: &View<'_>) -> Vec<[String; 4]> {
    let (a, b) = (&view.runs[view.other], view.run());
    let row = |name: &str, of: &dyn Fn(&Run) -> String, about: String| {
        [name.to_owned(), of(a), of(b), about]
    };
    let tpot = |run: &Run| {
        run.tpot_nanos()
            .map_or("-".to_owned(), |nanos| format!("{:.2} ms", millis(nanos)))
    };
    let change = difference(&token_millis(a), &token_millis(b));
    let mib = |bytes: u64| format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20));
    let same = common_prefix(&a.answer_ids, &b.answer_ids);
    let differs = match same == a.answer_ids.len().max(b.answer_ids.len()) {
        true => "the answers are equal".to_owned(),
        false => format!("first different token: {}", same + 1),
    };
    vec![
        row("prompt", &|run| short(&run.prompt, 34), String::new()),
        row("policy", &|run| short(&run.policy, 34), String::new()),
        row(
            "weights skipped",
            &|run| format!("{:.1} %", 100.0 * run.model.skip_rate(&run.mask)),
            format!(
                "Jaccard distance of the masks {:.2}, derived",
                jaccard(&a.mask, &b.mask)
            ),
        ),
        row("answer", &|run| short(&run.answer, 34), differs),
        row(
            "tokens",
            &|run| run.answer_ids.len().to_string(),
            String::new(),
        ),
        row(
            "TTFT",
            &|run| format!("{:.0} ms", millis(run.ttft_nanos)),
            "measured".to_owned(),
        ),
        row(
            "TPOT, median",
            &tpot,
            format!("mean {:+.2} ms ± {:.2}, measured", change.mean, change.half),
        ),
        row(
            "KV cache",
            &|run| mib(run.kv_bytes),
            format!(
                "{} saved, counted",
                mib(b.kv_bytes_full.saturating_sub(b.kv_bytes))
            ),
        ),
        row(
            "dispatches a token",
            &|run| run.decode_dispatches.to_string(),
            "counted".to_owned(),
        ),
    ]
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let (a, b, palette) = (&view.runs[view.other], view.run(), &view.palette);
    let mut figure = Figure::default();
    let columns = [LEFT, LEFT + 240.0, LEFT + 480.0];
    for (row, cells) in lines(view).iter().enumerate() {
        let y = 14.0 + 24.0 * row as f32;
        figure.text_right(pos2(LEFT - 10.0, y), palette.muted, cells[0].clone());
        for (x, cell) in columns.iter().zip(&cells[1..]) {
            let color = if *x == columns[2] {
                palette.muted
            } else {
                palette.text
            };
            figure.text(pos2(*x, y), color, cell.clone());
        }
    }
    if a.mask.layers() != b.mask.layers() {
        return figure;
    }
    let step = (view.width - LEFT - 8.0) / b.mask.layers().max(1) as f32;
    for (row, (name, run)) in [("other run", a), ("this run", b)].into_iter().enumerate() {
        let y = 240.0 + 40.0 * row as f32;
        figure.text_right(pos2(LEFT - 10.0, y + 16.0), palette.muted, name);
        for (layer, sublayer) in sublayers(&run.mask) {
            let mlp = sublayer == Sublayer::Mlp;
            let rect = area(
                LEFT + layer as f32 * step,
                y + if mlp { 16.0 } else { 0.0 },
                step - 2.0,
                15.0,
            );
            let runs = run.mask.runs(layer, sublayer);
            let differ = a.mask.runs(layer, sublayer) != b.mask.runs(layer, sublayer);
            let fill = match (runs, differ) {
                (true, true) => palette.warning,
                (true, false) if mlp => palette.second,
                (true, false) => palette.accent,
                (false, _) => palette.skipped,
            };
            let state = if runs { "runs" } else { "skipped" };
            let but = if differ { ", unlike in the other" } else { "" };
            figure.cell(
                rect,
                fill,
                format!("L{layer:02} {}: {state}{but}", sublayer.name()),
                None,
            );
        }
    }
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&["what", "other", "this", "difference"]);
    table.rows.extend(lines(view).into_iter().map(Vec::from));
    table
}
