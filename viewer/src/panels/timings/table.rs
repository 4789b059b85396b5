//! The kernels of a part of a run as a table.

use super::super::{LEFT, View, millis};
use super::PARTS;
use super::found::{Found, other};
use super::kernels::{HUNDRED, Kernel, TWENTY, between, micros};
use super::timeline::kernel_color;
use crate::figure::{Figure, Table, Value, area};
use crate::stats::histogram;
use eframe::egui::{Color32, pos2};
use first_wgpu::bench::statistics::quantile;
use first_wgpu::trace::Run;

/// Bars of a histogram, and from one to the next.
const BINS: usize = 24;
const BAR: f32 = 4.0;

/// Room for the names of kernels.
const NAMES: f32 = LEFT + 48.0;

/// A column: its name, how its numbers come about, its right edge, its decimals.
const COLUMNS: [(&str, &str, f32, usize); 8] = [
    ("count", "counted", 44.0, 0),
    ("sum ms", "measured", 104.0, 2),
    ("% of time", "derived", 162.0, 1),
    ("mean µs", "measured", 220.0, 1),
    ("p50 µs", "measured", 278.0, 1),
    ("p95 µs", "measured", 336.0, 1),
    ("p99 µs", "measured", 394.0, 1),
    (RATE, "derived", 474.0, 1),
];

const RATE: &str = "weights GB/s";

/// What is said above the table.
fn summary(run: &Run, found: &Found, prefill: bool) -> String {
    let part = PARTS[usize::from(prefill)].1;
    let nanos = found.kernels.iter().map(Kernel::nanos).sum();
    let mut text = format!("Kernels of the {part}: {:.1} ms in kernels", millis(nanos));
    if let Some((whole, between)) = between(run).filter(|_| !prefill) {
        let percent = 100.0 * between as f64 / whole as f64;
        text += &format!(
            "; of the {:.1} ms from each token's first dispatch to its last, {percent:.1} % lie between dispatches",
            millis(whole)
        );
    }
    match found.untimed {
        0 => {}
        1 => text += "; 1 dispatch has no time",
        count => text += &format!("; {count} dispatches have no time"),
    }
    text
}

/// The table of kernels from `top` on: numbers, histogram, and the difference from the other run.
pub(super) fn draw(figure: &mut Figure, view: &View<'_>, run: &Run, found: &Found, top: f32) {
    let palette = &view.palette;
    let said = summary(run, found, view.state.timings.prefill);
    figure.summary(pos2(8.0, top), palette.text, said);
    let top = top + 24.0;
    let mut head = |x: f32, name: &str, how: &str| {
        figure.text_right(pos2(x, top), palette.text, name);
        figure.text_right(pos2(x, top + 14.0), palette.muted, how);
    };
    for (name, how, x, _) in COLUMNS {
        head(NAMES + x, name, how);
    }
    let bins = NAMES + COLUMNS[7].2 + 16.0;
    let against = bins + BAR * BINS as f32 + 108.0;
    head(bins + BAR * BINS as f32, "histogram", "all, or to p99");
    let name = format!("against run {}", view.state.other + 1);
    let mut right = bins + BAR * BINS as f32;
    if found.compared {
        head(against, &name, "µs of both ± 95 %");
        right = against;
    }
    let rows = found.kernels.iter().zip(&found.changes).enumerate();
    for (row, (kernel, change)) in rows {
        let y = top + 38.0 + 26.0 * row as f32;
        let cells = cells(kernel);
        let named = COLUMNS.iter().zip(&cells);
        let named = named.map(|((name, ..), cell)| format!("{name} {cell}"));
        let last = change.map(|change| format!("{name} {} µs", change.text(1, "")));
        let said: Vec<String> = named.chain(last).collect();
        let tip = format!("{}: {}", kernel.title(), said.join(", "));
        figure.row(area(8.0, y - 12.0, right - 8.0, 24.0), tip);
        let color = kernel_color(palette, &kernel.key[0], &found.by_cost);
        let square = area(8.0, y - 6.0, 12.0, 12.0);
        figure.cell(square, color, String::new(), None);
        figure.text_right(pos2(NAMES - 2.0, y), palette.text, kernel.title());
        for ((_, _, x, _), cell) in COLUMNS.into_iter().zip(cells) {
            figure.text_right(pos2(NAMES + x, y), palette.text, cell);
        }
        bars(figure, kernel, color, bins, y);
        let Some(change) = change else { continue };
        // Where the interval leaves out zero, there is a difference to tell.
        let clear = change.mean.abs() > change.half;
        let ink = if clear { palette.text } else { palette.muted };
        figure.text_right(pos2(against, y), ink, change.text(1, ""));
    }
}

/// What is said of a kernel, column by column.
fn cells(kernel: &Kernel) -> Vec<String> {
    let numbers = COLUMNS.into_iter().zip(kernel.numbers());
    let cell = |((name, _, _, digits), number): ((&str, &str, f32, usize), f64)| {
        let text = format!("{number:.digits$}");
        // Kernels that read hardly any weights have no rate, and a few dispatches no quantiles.
        let none = !number.is_finite() || (name == RATE && text == "0.0");
        if none { "-".to_owned() } else { text }
    };
    numbers.map(cell).collect()
}

/// A histogram without the longest hundredth, which would leave one bar for all others; of few dispatches none.
fn bars(figure: &mut Figure, kernel: &Kernel, color: Color32, x: f32, y: f32) {
    let count = kernel.times.len();
    if count < TWENTY {
        return;
    }
    let most = if count < HUNDRED { 1.0 } else { 0.99 };
    let most = quantile(&kernel.times, most).unwrap_or(0);
    let kept = kernel.times.iter().filter(|time| **time <= most);
    let kept: Vec<f64> = kept.map(|time| micros(*time)).collect();
    let counts = histogram(&kept, BINS);
    let highest = counts.iter().copied().max().unwrap_or(1).max(1);
    let (first, last) = (kept[0], kept[kept.len() - 1]);
    let edge = |bin: usize| first + (last - first) * bin as f64 / BINS as f64;
    for (bin, some) in counts.iter().enumerate() {
        let height = (20.0 * *some as f32 / highest as f32).max(0.5);
        let (low, high) = (edge(bin), edge(bin + 1));
        let tip = format!(
            "{}: {some} of {count} from {low:.1} to {high:.1} µs",
            kernel.title()
        );
        let left = x + BAR * bin as f32;
        let rect = area(left, y + 10.0 - height, BAR - 1.0, height);
        figure.cell(rect, color, tip, None);
    }
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "part",
        "kernel",
        "label",
        "count",
        "sum_ms",
        "percent_of_time",
        "mean_us",
        "p50_us",
        "p95_us",
        "p99_us",
        "weights_gb_per_s",
        "against_run",
        "change_us",
        "change_half_interval_us",
    ]);
    let Some(run) = view.run() else { return table };
    let other = other(view, run);
    for (prefill, part) in PARTS {
        let found = Found::of(run, other, prefill);
        for (kernel, change) in found.kernels.into_iter().zip(found.changes) {
            let [_, numbers @ ..] = kernel.numbers();
            let mut row = vec![part.into()];
            row.extend(kernel.key.map(Value::from));
            row.push(kernel.times.len().into());
            row.extend(numbers.map(|number| Value::rounded(number, 6)));
            row.push(change.map(|_| view.state.other + 1).into());
            let change = change.map(|change| [change.mean, change.half]);
            let change = change.unwrap_or([f64::NAN; 2]);
            row.extend(change.map(|number| Value::rounded(number, 6)));
            table.rows.push(row);
        }
    }
    table
}
