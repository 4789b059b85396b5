//! What each dispatch of a decoded token cost, and each kernel in sum.

use super::{LEFT, View, millis};
use crate::figure::{Figure, Table, area};
use crate::stats::{mean, quantile, sorted};
use eframe::egui::pos2;
use first_wgpu::trace::{Dispatch, Run};
use std::collections::BTreeMap;

/// Durations in milliseconds by kernel, sorted; the kernel with the largest sum first.
fn kernels(run: &Run) -> Vec<(String, Vec<f64>)> {
    let mut kernels: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for dispatch in run.dispatches.iter().filter(|dispatch| dispatch.token > 0) {
        let times = kernels.entry(&dispatch.kernel).or_default();
        times.push(millis(dispatch.duration_nanos));
    }
    let mut kernels: Vec<_> = kernels
        .into_iter()
        .map(|(name, times)| (name.to_owned(), sorted(times)))
        .collect();
    let sum = |times: &[f64]| times.iter().sum::<f64>();
    kernels.sort_by(|a, b| sum(&b.1).total_cmp(&sum(&a.1)));
    kernels
}

/// The decoded token of middling time.
fn typical_token(run: &Run) -> Option<Vec<&Dispatch>> {
    let mut tokens: BTreeMap<u32, Vec<&Dispatch>> = BTreeMap::new();
    for dispatch in run.dispatches.iter().filter(|dispatch| dispatch.token > 0) {
        tokens.entry(dispatch.token).or_default().push(dispatch);
    }
    let mut tokens: Vec<_> = tokens.into_values().collect();
    tokens.sort_by_key(|token| token.iter().map(|at| at.duration_nanos).sum::<u64>());
    let middle = tokens.len() / 2;
    (!tokens.is_empty()).then(|| tokens.swap_remove(middle))
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let (run, palette) = (view.run(), &view.palette);
    let mut figure = Figure::default();
    let Some(token) = typical_token(run) else {
        let text = "This run was not traced, or the adapter has no timestamps. Tick “time every dispatch” and run again.";
        figure.text(pos2(LEFT, 20.0), palette.muted, text);
        return figure;
    };
    let kernels = kernels(run);
    let color = |kernel: &str| {
        let place = kernels.iter().position(|(name, _)| name == kernel);
        palette.series(place.unwrap_or(3).min(3))
    };
    let start = token.iter().map(|at| at.start_nanos).min().unwrap_or(0);
    let end = token
        .iter()
        .map(|at| at.start_nanos + at.duration_nanos)
        .max();
    let span = (end.unwrap_or(start) - start).max(1) as f32;
    let width = view.width - LEFT - 16.0;
    figure.text_right(
        pos2(LEFT - 10.0, 24.0),
        palette.muted,
        format!("token {}", token[0].token),
    );
    for dispatch in &token {
        let x = LEFT + (dispatch.start_nanos - start) as f32 / span * width;
        let wide = (dispatch.duration_nanos as f32 / span * width).max(0.75);
        let tip = format!(
            "{} ({})\n{:.3} ms, measured\n{:.2} MB of weights at {:.1} GB/s, derived",
            dispatch.label,
            dispatch.kernel,
            millis(dispatch.duration_nanos),
            dispatch.weight_bytes as f64 / 1e6,
            dispatch.weight_bytes as f64 / dispatch.duration_nanos.max(1) as f64
        );
        figure.cell(area(x, 8.0, wide, 34.0), color(&dispatch.kernel), tip, None);
    }
    figure.text(pos2(LEFT, 54.0), palette.muted, "0 ms");
    let total = format!("{:.2} ms", f64::from(span) / 1e6);
    figure.text_right(pos2(LEFT + width, 54.0), palette.muted, total);
    let heads = ["count", "sum ms", "mean", "p50", "p95", "p99"];
    let column = |index: usize| LEFT + 70.0 + 80.0 * index as f32;
    for (index, head) in heads.iter().enumerate() {
        figure.text_right(pos2(column(index), 90.0), palette.muted, *head);
    }
    let most = kernels
        .first()
        .map_or(1.0, |(_, times)| times.iter().sum::<f64>());
    for (row, (name, times)) in kernels.iter().enumerate() {
        let y = 112.0 + 22.0 * row as f32;
        let sum: f64 = times.iter().sum();
        figure.text_right(pos2(LEFT - 10.0, y), palette.text, name.clone());
        let values = [
            sum,
            mean(times),
            quantile(times, 0.5),
            quantile(times, 0.95),
            quantile(times, 0.99),
        ];
        figure.text_right(pos2(column(0), y), palette.text, times.len().to_string());
        for (index, value) in values.iter().enumerate() {
            figure.text_right(
                pos2(column(index + 1), y),
                palette.text,
                format!("{value:.3}"),
            );
        }
        let x = column(5) + 20.0;
        let wide = ((view.width - x - 16.0).max(10.0) * (sum / most) as f32).max(1.0);
        let tip = format!("{name}: {sum:.3} ms in {} dispatches", times.len());
        figure.cell(area(x, y - 7.0, wide, 14.0), color(name), tip, None);
    }
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "kernel", "count", "sum_ms", "mean_ms", "p50_ms", "p95_ms", "p99_ms",
    ]);
    for (name, times) in kernels(view.run()) {
        let sum: f64 = times.iter().sum();
        let values = [
            sum,
            mean(&times),
            quantile(&times, 0.5),
            quantile(&times, 0.95),
            quantile(&times, 0.99),
        ];
        let mut row = vec![name, times.len().to_string()];
        row.extend(values.map(|value| format!("{value:.6}")));
        table.rows.push(row);
    }
    table
}
