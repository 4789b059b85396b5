//! What each kernel cost over the decoded tokens of a run, or over its prefill.

use super::super::{LEFT, View, millis};
use super::kernel_color;
use crate::figure::{Figure, Table, Value, area};
use crate::stats::{Difference, difference, histogram, mean, quantile, sorted};
use eframe::egui::pos2;
use first_wgpu::trace::{Dispatch, Run};
use std::collections::{BTreeMap, BTreeSet};

/// The dispatches of a kernel.
pub(super) struct Kernel {
    pub(super) name: String,
    /// Durations in milliseconds, sorted.
    times: Vec<f64>,
    weight_bytes: u64,
}

/// Fewer dispatches than these have no 99th or 95th percentile.
const HUNDRED: usize = 100;
const TWENTY: usize = 20;

/// Bars of a histogram.
const BINS: usize = 24;

/// A column: its name, how its numbers come about, its right edge.
const COLUMNS: [(&str, &str, f32); 7] = [
    ("count", "counted", 40.0),
    ("sum ms", "measured", 110.0),
    ("mean µs", "measured", 180.0),
    ("p50 µs", "measured", 245.0),
    ("p95 µs", "measured", 310.0),
    ("p99 µs", "measured", 375.0),
    ("GB/s", "derived", 440.0),
];

impl Kernel {
    fn sum(&self) -> f64 {
        self.times.iter().sum()
    }

    /// In the order of [`COLUMNS`].
    fn numbers(&self) -> [f64; 7] {
        let micros = |q| 1e3 * quantile(&self.times, q);
        let of = |least, q| {
            if self.times.len() < least {
                f64::NAN
            } else {
                micros(q)
            }
        };
        [
            self.times.len() as f64,
            self.sum(),
            1e3 * mean(&self.times),
            micros(0.5),
            of(TWENTY, 0.95),
            of(HUNDRED, 0.99),
            self.weight_bytes as f64 / 1e6 / self.sum().max(1e-9),
        ]
    }
}

/// The kernels of the prefill or of the decoded tokens; the one with the largest sum first.
pub(super) fn kernels(run: &Run, prefill: bool) -> Vec<Kernel> {
    let mut kernels: BTreeMap<&str, (Vec<f64>, u64)> = BTreeMap::new();
    for dispatch in part(run, prefill) {
        let kernel = kernels.entry(&dispatch.kernel).or_default();
        kernel.0.push(millis(dispatch.duration_nanos));
        kernel.1 += dispatch.weight_bytes;
    }
    let kernel = |(name, (times, weight_bytes)): (&str, (Vec<f64>, u64))| Kernel {
        name: name.to_owned(),
        times: sorted(times),
        weight_bytes,
    };
    let mut kernels: Vec<Kernel> = kernels.into_iter().map(kernel).collect();
    kernels.sort_by(|a, b| b.sum().total_cmp(&a.sum()));
    kernels
}

/// The kernels of a whole run, the one with the largest sum first: each has one colour in both parts.
pub(super) fn by_cost(run: &Run) -> Vec<&str> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for dispatch in &run.dispatches {
        *sums.entry(&dispatch.kernel).or_default() += dispatch.duration_nanos;
    }
    let mut names: Vec<&str> = sums.keys().copied().collect();
    names.sort_by_key(|name| std::cmp::Reverse(sums[*name]));
    names
}

/// The dispatches of a part of a run.
fn part(run: &Run, prefill: bool) -> impl Iterator<Item = &Dispatch> {
    let dispatches = run.dispatches.iter();
    dispatches.filter(move |dispatch| (dispatch.token == 0) == prefill)
}

/// How much longer a dispatch of a kernel takes in `run` than in `other`, in microseconds: of what both have, since one kernel
/// has dispatches of many sizes, of which a mask leaves out some. The interval is over tokens; of a prefill, which has none, over
/// its dispatches, in pairs.
pub(super) fn change(run: &Run, other: &Run, prefill: bool, kernel: &str) -> Option<Difference> {
    let own = |dispatch: &&Dispatch| dispatch.kernel == kernel;
    let labels = |run| -> BTreeSet<&str> {
        let own = part(run, prefill).filter(own);
        own.map(|dispatch| dispatch.label.as_str()).collect()
    };
    let shared: BTreeSet<&str> = &labels(run) & &labels(other);
    let means = |run| -> Vec<f64> {
        let mut sums: BTreeMap<(u32, &str), (f64, f64)> = BTreeMap::new();
        let shared = |dispatch: &&Dispatch| shared.contains(dispatch.label.as_str());
        for dispatch in part(run, prefill).filter(own).filter(shared) {
            let label = if prefill { &*dispatch.label } else { "" };
            let (sum, count) = sums.entry((dispatch.token, label)).or_default();
            *sum += 1e3 * millis(dispatch.duration_nanos);
            *count += 1.0;
        }
        sums.values().map(|(sum, count)| sum / count).collect()
    };
    let (others, own) = (means(other), means(run));
    let change = if prefill {
        let pairs = others.iter().zip(&own);
        let longer: Vec<f64> = pairs.map(|(other, own)| own - other).collect();
        difference(&vec![0.0; longer.len()], &longer)
    } else {
        difference(&others, &own)
    };
    change.mean.is_finite().then_some(change)
}

/// The table of kernels from `top` on: numbers, histogram, and the difference from the other run.
pub(super) fn draw(
    figure: &mut Figure,
    view: &View<'_>,
    run: &Run,
    kernels: &[Kernel],
    by_cost: &[&str],
    top: f32,
) {
    let palette = &view.palette;
    let prefill = view.state.timings.prefill;
    let other = view.other().filter(|other| !std::ptr::eq(*other, run));
    let other = other.filter(|other| part(other, prefill).next().is_some());
    for (name, how, x) in COLUMNS {
        figure.text_right(pos2(LEFT + x, top), palette.text, name);
        figure.text_right(pos2(LEFT + x, top + 14.0), palette.muted, how);
    }
    let (bins, against) = (LEFT + 464.0, LEFT + 600.0);
    figure.text(pos2(bins, top), palette.text, "histogram");
    figure.text(pos2(bins, top + 14.0), palette.muted, "all, or to p99");
    if other.is_some() {
        let name = format!("mean µs against run {}", view.state.other + 1);
        figure.text(pos2(against, top), palette.text, name);
        let how = "of both, ± 95 %";
        figure.text(pos2(against, top + 14.0), palette.muted, how);
    }
    for (row, kernel) in kernels.iter().enumerate() {
        let y = top + 38.0 + 26.0 * row as f32;
        let color = kernel_color(palette, &kernel.name, by_cost);
        figure.cell(
            area(8.0, y - 6.0, 12.0, 12.0),
            color,
            kernel.name.clone(),
            None,
        );
        figure.text_right(pos2(LEFT - 10.0, y), palette.text, kernel.name.clone());
        for ((_, _, x), number) in COLUMNS.into_iter().zip(kernel.numbers()) {
            let digits = if x == COLUMNS[0].2 { 0 } else { 1 };
            // Kernels that read no weights have no rate, and a few dispatches no quantiles.
            let text = if number == 0.0 || !number.is_finite() {
                "-".to_owned()
            } else {
                format!("{number:.digits$}")
            };
            figure.text_right(pos2(LEFT + x, y), palette.text, text);
        }
        bars(figure, kernel, color, bins, y);
        let change = other.and_then(|other| change(run, other, prefill, &kernel.name));
        let Some(change) = change else { continue };
        // Where the interval leaves out zero, there is a difference to tell.
        let clear = change.mean.abs() > change.half;
        let ink = if clear { palette.text } else { palette.muted };
        figure.text(pos2(against, y), ink, change.text(1, ""));
    }
}

/// A histogram without the longest hundredth, which would leave one bar for all others; of few dispatches with all.
fn bars(figure: &mut Figure, kernel: &Kernel, color: eframe::egui::Color32, x: f32, y: f32) {
    let most = if kernel.times.len() < HUNDRED {
        f64::INFINITY
    } else {
        quantile(&kernel.times, 0.99)
    };
    let kept: Vec<f64> = kernel
        .times
        .iter()
        .copied()
        .filter(|time| *time <= most)
        .collect();
    let counts = histogram(&kept, BINS);
    let highest = counts.iter().copied().max().unwrap_or(1).max(1);
    let (first, last) = (kept.first().unwrap_or(&0.0), kept.last().unwrap_or(&0.0));
    for (bin, count) in counts.iter().enumerate() {
        let height = 20.0 * *count as f32 / highest as f32;
        let low = first + (last - first) * bin as f64 / BINS as f64;
        let tip = format!("{}: {count} of about {:.1} µs", kernel.name, 1e3 * low);
        let rect = area(
            x + 5.0 * bin as f32,
            y + 10.0 - height,
            4.0,
            height.max(0.5),
        );
        figure.cell(rect, color, tip, None);
    }
}

pub(super) fn table(run: &Run) -> Table {
    let mut table = Table::new(&[
        "part", "kernel", "count", "sum_ms", "mean_us", "p50_us", "p95_us", "p99_us", "gb_per_s",
    ]);
    for (prefill, part) in super::PARTS {
        for kernel in kernels(run, prefill) {
            let [_, times @ ..] = kernel.numbers();
            let mut row = vec![part.into(), kernel.name.into(), kernel.times.len().into()];
            row.extend(times.map(|number| Value::rounded(number, 6)));
            table.rows.push(row);
        }
    }
    table
}
