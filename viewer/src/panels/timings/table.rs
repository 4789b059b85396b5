//! The kernels of a part of a run as a table.

use super::super::{LEFT, View, millis};
use super::PARTS;
use super::kernels::{HUNDRED, Kernel, TWENTY, between, change, kernels, micros, part};
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
fn summary(run: &Run, kernels: &[Kernel<'_>], prefill: bool) -> String {
    let part = PARTS[usize::from(prefill)].1;
    let nanos = kernels.iter().map(Kernel::nanos).sum();
    let mut text = format!("Kernels of the {part}: {:.1} ms in kernels", millis(nanos));
    if let Some((whole, between)) = between(run).filter(|_| !prefill) {
        let percent = 100.0 * between as f64 / whole as f64;
        text += &format!(
            "; of the {:.1} ms from each token's first dispatch to its last, {percent:.1} % lie between dispatches",
            millis(whole)
        );
    }
    text
}

/// The table of kernels from `top` on: numbers, histogram, and the difference from the other run.
pub(super) fn draw(
    figure: &mut Figure,
    view: &View<'_>,
    run: &Run,
    kernels: &[Kernel<'_>],
    by_cost: &[&str],
    top: f32,
) {
    let palette = &view.palette;
    let (prefill, alone) = (view.state.timings.prefill, view.state.timings.alone);
    let other = view
        .other()
        .filter(|other| !alone && !std::ptr::eq(*other, run));
    let other = other.filter(|other| part(other, prefill).next().is_some());
    figure.text(pos2(8.0, top), palette.text, summary(run, kernels, prefill));
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
    if other.is_some() {
        let name = format!("against run {}", view.state.other + 1);
        head(against, &name, "µs of both ± 95 %");
    }
    for (row, kernel) in kernels.iter().enumerate() {
        let y = top + 38.0 + 26.0 * row as f32;
        let color = kernel_color(palette, kernel.key[0], by_cost);
        let square = area(8.0, y - 6.0, 12.0, 12.0);
        figure.cell(square, color, kernel.title(), None);
        figure.text_right(pos2(NAMES - 2.0, y), palette.text, kernel.title());
        for ((name, _, x, digits), number) in COLUMNS.into_iter().zip(kernel.numbers()) {
            let text = format!("{number:.digits$}");
            // Kernels that read hardly any weights have no rate, and a few dispatches no quantiles.
            let none = !number.is_finite() || (name == RATE && text == "0.0");
            let text = if none { "-".to_owned() } else { text };
            figure.text_right(pos2(NAMES + x, y), palette.text, text);
        }
        bars(figure, kernel, color, bins, y);
        let change = other.and_then(|other| change(run, other, prefill, kernel.key));
        let Some(change) = change else { continue };
        // Where the interval leaves out zero, there is a difference to tell.
        let clear = change.mean.abs() > change.half;
        let ink = if clear { palette.text } else { palette.muted };
        figure.text_right(pos2(against, y), ink, change.text(1, ""));
    }
}

/// A histogram without the longest hundredth, which would leave one bar for all others; of few dispatches none.
fn bars(figure: &mut Figure, kernel: &Kernel<'_>, color: Color32, x: f32, y: f32) {
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

pub(super) fn table(run: &Run) -> Table {
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
    ]);
    for (prefill, part) in PARTS {
        for kernel in kernels(run, prefill) {
            let [_, numbers @ ..] = kernel.numbers();
            let mut row = vec![part.into()];
            row.extend(kernel.key.map(Value::from));
            row.push(kernel.times.len().into());
            row.extend(numbers.map(|number| Value::rounded(number, 6)));
            table.rows.push(row);
        }
    }
    table
}
