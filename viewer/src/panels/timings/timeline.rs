//! The tracks of a run, from left to right.

use super::super::{LEFT, View, legend};
use super::RIGHT;
use super::spans::{Span, TOKEN, TRACKS, spans};
use crate::figure::{Figure, area};
use crate::palette::{Palette, ink_on};
use crate::plot::ticks;
use eframe::egui::{Color32, pos2};
use first_wgpu::mask::Sublayer;
use first_wgpu::trace::Run;

/// From track to track.
const TRACK: f32 = 26.0;
/// Above the first.
const TOP: f32 = 26.0;
/// The width of a digit of a tick's label, and a little more.
const DIGIT: f32 = 7.0;
/// The series of the kernels that cost most. The accent is attention's, and the second series the MLPs'.
const KERNELS: [usize; 3] = [1, 3, 4];

/// The colour of a kernel: those that cost most have theirs.
pub(super) fn kernel_color(palette: &Palette, kernel: &str, by_cost: &[String]) -> Color32 {
    let mut costly = by_cost.iter().zip(KERNELS);
    let own = costly.find(|(name, _)| *name == kernel);
    own.map_or(palette.minor, |(_, series)| palette.series(series))
}

pub(super) fn color(palette: &Palette, span: &Span<'_>, by_cost: &[String]) -> Color32 {
    match (span.kernel(), span.sublayer()) {
        (Some(kernel), _) => kernel_color(palette, kernel, by_cost),
        (None, Some(Sublayer::Attn)) => palette.accent,
        (None, Some(Sublayer::Mlp)) => palette.second,
        (None, None) => palette.muted,
    }
}

/// Each track from left to right; what is narrower than a point is drawn together with its neighbours. Returns where it ends.
pub(super) fn draw(figure: &mut Figure, view: &View<'_>, run: &Run, by_cost: &[String]) -> f32 {
    let palette = &view.palette;
    let (start, end) = view.state.timings.range(run);
    let width = view.width - LEFT - RIGHT;
    let place = |nanos: f64| LEFT + ((nanos - start) / (end - start)) as f32 * width;
    for (track, name) in TRACKS.into_iter().enumerate() {
        let y = TOP + TRACK * track as f32 + 11.0;
        let waited = track == TOKEN && run.dispatches.is_empty();
        let name = if waited { "host: wait" } else { name };
        figure.text_right(pos2(LEFT - 10.0, y), palette.muted, name);
    }
    for (millis, label) in ticks((start / 1e6, end / 1e6), 5.0) {
        let label = label + " ms";
        // The last may be at the right end.
        let most = view.width - DIGIT * label.len() as f32 / 2.0;
        let at = pos2(place(1e6 * millis).min(most), 10.0);
        figure.text_middle(at, palette.muted, label);
    }
    let mut together: Vec<Gathered<'_>> = Vec::new();
    for (index, span) in spans(run).into_iter().enumerate() {
        if (span.end as f64) < start || (span.start as f64) > end {
            continue;
        }
        let left = place(span.start as f64).max(LEFT);
        let right = place(span.end as f64).min(LEFT + width);
        match together.last_mut() {
            Some(last) if last.takes(&span, right) => last.add(span, index, right),
            _ => together.push(Gathered {
                nanos: span.end - span.start,
                count: 1,
                left,
                right,
                index,
                span,
            }),
        }
    }
    for gathered in together {
        let y = TOP + TRACK * gathered.span.track as f32;
        let width = gathered.right - gathered.left;
        let gap = if width > 4.0 { 1.0 } else { 0.0 };
        let rect = area(gathered.left, y, (width - gap).max(1.0), TRACK - 4.0);
        let (tip, fill) = (gathered.tip(), color(palette, &gathered.span, by_cost));
        figure.cell(rect, fill, tip, Some(gathered.index));
        // Narrower ones have room for no name.
        if gathered.count > 1 || width < 30.0 {
            continue;
        }
        let text = gathered.span.label();
        if width > 8.0 * text.len() as f32 + 6.0 {
            figure.text_middle(rect.center(), ink_on(fill), text);
        }
    }
    keys(figure, view, by_cost, TOP + TRACK * TRACKS.len() as f32)
}

/// What the colours of blocks and of dispatches mean.
fn keys(figure: &mut Figure, view: &View<'_>, by_cost: &[String], top: f32) -> f32 {
    let palette = &view.palette;
    let [attention, mlp, _] = legend::sublayers(palette);
    let other = (palette.muted, "other (embedding, routers, head)");
    let blocks = vec![attention, mlp, other];
    let named = by_cost.iter().take(KERNELS.len());
    let named = named.map(|name| (kernel_color(palette, name, by_cost), &**name));
    let mut kernels: Vec<(Color32, &str)> = named.collect();
    if by_cost.len() > KERNELS.len() {
        kernels.push((palette.minor, "other kernels"));
    }
    let mut y = top + 12.0;
    for (name, colors) in [("of blocks", blocks), ("of dispatches", kernels)] {
        if !colors.is_empty() {
            figure.text_right(pos2(LEFT - 10.0, y), palette.muted, name);
            legend::named(figure, palette, pos2(LEFT, y), colors);
        }
        y += 20.0;
    }
    y + 10.0
}

/// Neighbouring spans of a track that are drawn as one.
struct Gathered<'a> {
    /// The longest of them, and its place.
    span: Span<'a>,
    index: usize,
    count: usize,
    nanos: u64,
    left: f32,
    right: f32,
}

impl<'a> Gathered<'a> {
    fn takes(&self, span: &Span<'_>, right: f32) -> bool {
        span.track == self.span.track && right - self.left < 1.0
    }

    fn add(&mut self, span: Span<'a>, index: usize, right: f32) {
        self.count += 1;
        self.nanos += span.end - span.start;
        self.right = right;
        if span.end - span.start > self.span.end - self.span.start {
            (self.span, self.index) = (span, index);
        }
    }

    fn tip(&self) -> String {
        let millis = self.nanos as f64 / 1e6;
        match self.count {
            1 => format!(
                "{}\n{millis:.3} ms, measured\n{}",
                self.span.label(),
                self.span.about()
            ),
            count => format!("{count} of them, {millis:.3} ms together, measured"),
        }
    }
}
