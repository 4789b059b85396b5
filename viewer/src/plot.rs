//! Axes, curves and dots of a figure.

use crate::figure::{Figure, area};
use crate::palette::Palette;
use eframe::egui::{Color32, Pos2, Rect, pos2, vec2};
use first_wgpu::bench::plot::{self, step};

/// A plot in a part of a figure: numbers to places.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    rect: Rect,
    x: (f64, f64),
    y: (f64, f64),
    /// Whether what is on the x axis is counted, and has no halves.
    whole: bool,
}

/// Room for the numbers of the y axis.
pub(crate) const LEFT: f32 = 56.0;
/// Room for the title.
const TOP: f32 = 24.0;
/// Room for the numbers and the name of the x axis.
const BOTTOM: f32 = 40.0;

/// The range of values, made wider to whole steps; 0 to 1 of none, and of those whose range is no number.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return (0.0, 1.0);
    }
    let span = if high > low {
        high - low
    } else {
        high.abs().max(1.0)
    };
    let step = step(span, 4.0);
    let low = (low / step).floor() * step;
    let high = (high / step).ceil() * step;
    let high = if high > low { high } else { low + step };
    let sound = high > low && (high - low).is_finite();
    if sound { (low, high) } else { (0.0, 1.0) }
}

/// A tick's label: short, and another than its neighbours', a step away.
fn number(value: f64, step: f64) -> String {
    let thousands = [("G", 1e9), ("M", 1e6), ("k", 1e3)];
    let large = |(_, unit): &(&str, f64)| value.abs() >= 10.0 * unit;
    let (name, unit) = thousands.into_iter().find(large).unwrap_or(("", 1.0));
    plot::number(value / unit, step / unit) + name
}

impl Plot {
    /// Draws the axes of a plot of these points, titled above and named below.
    pub fn new(
        figure: &mut Figure,
        palette: &Palette,
        rect: Rect,
        [title, x_name]: [&str; 2],
        points: impl Iterator<Item = (f64, f64)> + Clone,
    ) -> Self {
        let plot = Self {
            whole: points.clone().all(|(x, _)| x.fract() == 0.0),
            rect: Rect::from_min_max(
                pos2(rect.min.x + LEFT, rect.min.y + TOP),
                pos2(rect.max.x - 12.0, rect.max.y - BOTTOM),
            ),
            x: range(points.clone().map(|point| point.0)),
            y: range(points.map(|point| point.1)),
        };
        figure.size = figure.size.max(rect.max.to_vec2());
        let inner = plot.rect;
        figure.text(pos2(inner.min.x, rect.min.y + 8.0), palette.text, title);
        let below = pos2(inner.center().x, rect.max.y - 10.0);
        figure.text_middle(below, palette.muted, x_name);
        for (value, label) in ticks(plot.y, 5.0) {
            let y = plot.place(plot.x.0, value).y;
            // A box, not a line: bars are drawn over it.
            let grid = area(inner.min.x, y - 0.5, inner.width(), 1.0);
            figure.cell(grid, palette.line, String::new(), None);
            figure.text_right(pos2(inner.min.x - 8.0, y), palette.muted, label);
        }
        plot.x_numbers(figure, palette, inner.max.y);
        plot
    }

    /// Draws the numbers of the x axis below a height.
    pub fn x_numbers(&self, figure: &mut Figure, palette: &Palette, bottom: f32) {
        let parts = f64::from(self.rect.width() / 90.0).max(2.0);
        let parts = if self.whole {
            parts.min(self.x.1 - self.x.0)
        } else {
            parts
        };
        for (value, label) in ticks(self.x, parts) {
            let at = pos2(self.place(value, self.y.0).x, bottom + 12.0);
            figure.text_middle(at, palette.muted, label);
        }
    }

    /// Where a point is; one beyond the axes is at their ends.
    pub fn place(&self, x: f64, y: f64) -> Pos2 {
        let share = |value: f64, (low, high): (f64, f64)| {
            let share = (value - low) / (high - low);
            share.clamp(0.0, 1.0) as f32
        };
        let (x, y) = (share(x, self.x), share(y, self.y));
        pos2(
            self.rect.min.x + x * self.rect.width(),
            self.rect.max.y - y * self.rect.height(),
        )
    }

    /// Draws a curve; points that are not finite break nothing.
    pub fn curve(
        &self,
        figure: &mut Figure,
        color: Color32,
        points: impl Iterator<Item = (f64, f64)>,
    ) {
        let finite = points.filter(|(x, y)| x.is_finite() && y.is_finite());
        let places: Vec<Pos2> = finite.map(|(x, y)| self.place(x, y)).collect();
        let places = thinned(places);
        if places.len() > 1 {
            figure.line(places, color, 1.5);
        }
    }

    /// Draws a dot that says something.
    pub fn dot(&self, figure: &mut Figure, color: Color32, (x, y): (f64, f64), tip: String) {
        if x.is_finite() && y.is_finite() {
            let at = self.place(x, y);
            figure.cell(area(at.x - 4.0, at.y - 4.0, 8.0, 8.0), color, tip, None);
        }
    }

    /// Draws an interval from end to end.
    pub fn interval(&self, figure: &mut Figure, color: Color32, ends: [(f64, f64); 2]) {
        if ends.iter().all(|(x, y)| x.is_finite() && y.is_finite()) {
            let ends = ends.map(|(x, y)| self.place(x, y));
            figure.line(ends.to_vec(), color, 1.5);
        }
    }

    /// Draws a dashed line at a height, named.
    pub fn level(&self, figure: &mut Figure, color: Color32, y: f64, name: &str) {
        if !(self.y.0..=self.y.1).contains(&y) {
            return;
        }
        let ends = [self.x.0, self.x.1].map(|x| self.place(x, y));
        dashed(figure, color, ends);
        figure.text_right(ends[1] - vec2(0.0, 8.0), color, name);
    }

    /// Draws a dashed line from the bottom to the top.
    pub fn upright(&self, figure: &mut Figure, color: Color32, x: f64) {
        let ends = [self.y.0, self.y.1].map(|y| self.place(x, y));
        dashed(figure, color, ends);
    }
}

fn dashed(figure: &mut Figure, color: Color32, [from, to]: [Pos2; 2]) {
    let (length, way) = ((to - from).length(), (to - from).normalized());
    let mut at = 0.0;
    while at < length {
        let end = (at + 6.0).min(length);
        figure.line(vec![from + at * way, from + end * way], color, 1.0);
        at += 12.0;
    }
}

/// Where an axis has ticks, and what they are labelled.
pub(crate) fn ticks((low, high): (f64, f64), parts: f64) -> impl Iterator<Item = (f64, String)> {
    let step = step(high - low, parts);
    let first = (low / step).ceil();
    let count = ((high / step).floor() - first).max(0.0) as usize;
    let values = (0..=count).map(move |index| (first + index as f64) * step);
    values.map(move |value| (value, number(value, step)))
}

/// At most two points to each point of width: the lowest and the highest.
fn thinned(points: Vec<Pos2>) -> Vec<Pos2> {
    let mut kept: Vec<Pos2> = Vec::new();
    let mut column: Vec<Pos2> = Vec::new();
    let mut flush = |column: &mut Vec<Pos2>| {
        let by_height = |a: &&Pos2, b: &&Pos2| a.y.total_cmp(&b.y);
        let low = column.iter().min_by(by_height).copied();
        let high = column.iter().max_by(by_height).copied();
        kept.extend(low);
        kept.extend(high.filter(|high| Some(*high) != low));
        column.clear();
    };
    for point in points {
        let other = column.first().is_some_and(|first| point.x - first.x >= 1.0);
        if other {
            flush(&mut column);
        }
        column.push(point);
    }
    flush(&mut column);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        assert_eq!(range([0.3, 9.2].into_iter()), (0.0, 10.0));
        assert_eq!(range(std::iter::empty()), (0.0, 1.0));
        assert_eq!(labels((0.0, 10.0)), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels((-0.2, 0.2)), ["-0.2", "-0.1", "0", "0.1", "0.2"]);
        assert_eq!(labels((0.0, 5e4)), ["0", "10k", "20k", "30k", "40k", "50k"]);
        assert_eq!(labels((0.0, 2e7)), ["0", "5000k", "10M", "15M", "20M"]);
    }

    fn labels(range: (f64, f64)) -> Vec<String> {
        ticks(range, 5.0).map(|(_, label)| label).collect()
    }

    #[test]
    fn labels_of_small_steps_differ() {
        for range in [(0.0, 0.0004), (1.0, 1.0004), (20_000.0, 20_000.8)] {
            let labels = labels(range);
            let different: std::collections::BTreeSet<&String> = labels.iter().collect();
            assert!(labels.len() > 3, "{labels:?}");
            assert_eq!(different.len(), labels.len(), "{labels:?}");
        }
    }

    #[test]
    fn values_without_a_range_are_drawn() {
        assert_eq!(range([-1e308, 1e308].into_iter()), (0.0, 1.0));
        assert_eq!(range([f64::MAX, 0.0].into_iter()), (0.0, 1.0));
        let points = [(0.0, -1e308), (1.0, 1e308)].into_iter();
        let rect = area(0.0, 0.0, 400.0, 200.0);
        let mut figure = Figure::default();
        let plot = Plot::new(&mut figure, &Palette::LIGHT, rect, ["", ""], points);
        plot.interval(&mut figure, Color32::RED, [(0.0, -1e308), (0.0, 1e308)]);
        plot.dot(&mut figure, Color32::RED, (1.0, 1e308), String::new());
        assert!(figure.size.max_elem() <= 400.0, "{}", figure.size);
    }

    #[test]
    fn an_upright_line_is_as_high_as_the_plot() {
        let rect = area(0.0, 0.0, 400.0, 200.0);
        let mut figure = Figure::default();
        let points = [(0.0, 0.0), (1.0, 3.0)].into_iter();
        let plot = Plot::new(&mut figure, &Palette::LIGHT, rect, ["", ""], points);
        plot.upright(&mut figure, Color32::RED, 0.5);
        let ends = figure.lines.iter().flat_map(|line| &line.points);
        let drawn = Rect::from_points(&ends.copied().collect::<Vec<_>>());
        let [top, bottom] = [plot.rect.min.y, plot.rect.max.y];
        assert!(drawn.min.y - top < 6.0 && drawn.max.y == bottom, "{drawn}");
        assert!(figure.lines.len() > 10, "it is dashed");
    }

    #[test]
    fn a_million_points_become_two_a_pixel() {
        let points = (0..1_000_000).map(|x| pos2(x as f32 / 1000.0, (x % 7) as f32));
        let kept = thinned(points.collect());
        assert!((1000..=2002).contains(&kept.len()), "{}", kept.len());
    }
}
