//! A line chart as SVG: what a table of lengths and times looks like.

use std::fmt::Write;

/// One chart.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// Above it.
    pub title: &'a str,
    /// Below the x axis.
    pub x_label: &'a str,
    /// What is drawn; named below the chart where there are several. The same place in the list has the same
    /// colour in all charts, so one that a chart lacks is given without points.
    pub series: Vec<Series<'a>>,
    /// Value at 0 and slope of a line to draw behind them.
    pub line: Option<(f64, f64)>,
    /// Whether the y axis begins at 0, so that heights compare as the numbers do, or near the least.
    pub from_zero: bool,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// What it is of.
    pub name: &'a str,
    /// Measured points in order of x.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 260.0;
// Margins.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;
/// A line of the legend, and how many names stand in it.
const LEGEND: f64 = 18.0;
const LEGEND_COLUMNS: usize = 2;

/// Colours that people of all kinds of sight tell apart (Okabe and Ito, 2008); beyond them, the marks differ.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f",
];

/// A mark around a point: a circle, a square, a triangle.
fn mark(index: usize, x: f64, y: f64) -> String {
    let colour = COLOURS[index % COLOURS.len()];
    match index / COLOURS.len() % 3 {
        0 => format!("<circle fill=\"{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"),
        1 => format!(
            "<rect fill=\"{colour}\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>",
            x - 3.5,
            y - 3.5
        ),
        _ => format!(
            "<path fill=\"{colour}\" d=\"M{:.1} {:.1}h8l-4 -7z\"/>",
            x - 4.0,
            y + 3.5
        ),
    }
}

/// A step of 1, 2 or 5 times a power of ten that cuts `range` into at most `parts`.
pub fn step(range: f64, parts: f64) -> f64 {
    let rough = (range / parts).max(1e-12);
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

/// Charts side by side.
pub fn svg(charts: &[Chart<'_>]) -> String {
    let width = WIDTH * charts.len() as f64;
    let named = charts.iter().map(Chart::named).max().unwrap_or(0);
    let height = HEIGHT + LEGEND * named.div_ceil(LEGEND_COLUMNS) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <style>:root {{ color: #24292f }} @media (prefers-color-scheme: dark) {{ :root {{ color: #d0d7de }} }} \
         text {{ fill: currentColor }} .grid {{ stroke: currentColor; opacity: .15 }} \
         .fit {{ stroke: currentColor; opacity: .5; stroke-dasharray: 4 4 }} \
         .data {{ fill: none; stroke-width: 2 }}</style>\n"
    );
    for (index, chart) in charts.iter().enumerate() {
        let left = WIDTH * index as f64;
        out += &format!("<g transform=\"translate({left} 0)\">\n");
        chart.draw(&mut |text| {
            out.write_fmt(text).expect("a string takes everything");
            out.push('\n');
        });
        out += "</g>\n";
    }
    out + "</svg>\n"
}

/// Takes a line of the picture.
type Put<'a> = &'a mut dyn FnMut(std::fmt::Arguments<'_>);

impl Chart<'_> {
    /// How many names are below it.
    fn named(&self) -> usize {
        let drawn = self
            .series
            .iter()
            .filter(|series| !series.points.is_empty());
        match self.series.len() {
            0 | 1 => 0,
            _ => drawn.count(),
        }
    }

    fn draw(&self, put: Put<'_>) {
        let axes = Axes::of(self);
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        put(format_args!(
            "<text x=\"{middle}\" y=\"18\" text-anchor=\"middle\" font-weight=\"600\">{}</text>",
            self.title
        ));
        put(format_args!(
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            self.x_label
        ));
        axes.draw(put);
        if let Some((start, slope)) = self.line {
            put(format_args!(
                "<line class=\"fit\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
                axes.x(0.0),
                axes.y(start.clamp(axes.y_start, axes.y_end)),
                axes.x(axes.x_end),
                axes.y((start + slope * axes.x_end).clamp(axes.y_start, axes.y_end))
            ));
        }
        let drawn = self.series.iter().enumerate();
        let drawn = drawn.filter(|(_, series)| !series.points.is_empty());
        for (place, (index, series)) in drawn.enumerate() {
            series.draw(index, &axes, put);
            if self.series.len() > 1 {
                series.name_below(index, place, put);
            }
        }
    }
}

impl Series<'_> {
    fn draw(&self, index: usize, axes: &Axes, put: Put<'_>) {
        let points = self.points.iter().map(|(x, y)| (axes.x(*x), axes.y(*y)));
        let points: Vec<(f64, f64)> = points.collect();
        if points.len() > 1 {
            let path = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
            put(format_args!(
                "<polyline class=\"data\" stroke=\"{}\" points=\"{}\"/>",
                COLOURS[index % COLOURS.len()],
                path.collect::<Vec<_>>().join(" ")
            ));
        }
        for (x, y) in points {
            put(format_args!("{}", mark(index, x, y)));
        }
    }

    /// Its line of the legend, of which it has that place.
    fn name_below(&self, index: usize, place: usize, put: Put<'_>) {
        let column = (place % LEGEND_COLUMNS) as f64;
        let at = LEFT + column * (WIDTH - LEFT) / LEGEND_COLUMNS as f64;
        let row = HEIGHT + LEGEND * (place / LEGEND_COLUMNS) as f64 + 8.0;
        put(format_args!(
            "{}<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            mark(index, at, row),
            at + 8.0,
            row + 4.0,
            escaped(&shortened(self.name))
        ));
    }
}

/// Where values are: x from 0, y from where the chart begins, both to a round number beyond the largest.
struct Axes {
    x_step: f64,
    x_end: f64,
    y_step: f64,
    y_start: f64,
    y_end: f64,
}

impl Axes {
    fn of(chart: &Chart<'_>) -> Self {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let most = |of: fn(&(f64, f64)) -> f64, least| above(least, points().map(of));
        let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let least = if chart.from_zero || !least.is_finite() {
            0.0
        } else {
            least
        };
        let (x_most, y_most) = (most(|point| point.0, 0.0), most(|point| point.1, least));
        let (x_step, y_step) = (step(x_most, 5.0), step(y_most - least, 5.0));
        Self {
            x_step,
            x_end: (x_most / x_step).ceil() * x_step,
            y_step,
            y_start: (least / y_step).floor() * y_step,
            y_end: (y_most / y_step).ceil() * y_step,
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + value / self.x_end * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.y_start) / (self.y_end - self.y_start);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    /// Lines across, and ticks with their values.
    fn draw(&self, put: Put<'_>) {
        let right = WIDTH - RIGHT;
        for tick in 0..=((self.y_end - self.y_start) / self.y_step).round() as usize {
            let value = self.y_start + tick as f64 * self.y_step;
            let at = self.y(value);
            put(format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                number(value, self.y_step)
            ));
        }
        for tick in 0..=(self.x_end / self.x_step).round() as usize {
            let value = tick as f64 * self.x_step;
            put(format_args!(
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                self.x(value),
                HEIGHT - BOTTOM + 16.0,
                number(value, self.x_step)
            ));
        }
    }
}

/// A name that fits a column of the legend.
fn shortened(name: &str) -> String {
    const MOST: usize = 24;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// A name that may hold anything, as text of the picture.
fn escaped(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;")
}

/// The largest value, where an axis ends that begins at `least`; 1 above that if no value is larger.
fn above(least: f64, values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(least, f64::max);
    if most > least { most } else { least + 1.0 }
}

/// A tick's label: as many decimals as the step between ticks needs, without zeros at the end.
pub fn number(value: f64, step: f64) -> String {
    // A step of 0.001 has a logarithm that may be a little less than -3.
    let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    if text == "-0" { "0" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(step(4096.0, 5.0), 1000.0);
        assert_eq!(step(30.0, 5.0), 10.0);
        assert_eq!(step(0.7, 5.0), 0.2);
        assert_eq!(
            [number(0.0, 0.2), number(0.4, 0.2), number(1000.0, 500.0)],
            ["0", "0.4", "1000"]
        );
        assert_eq!(
            [number(2e-5, 1e-5), number(0.001, 0.001), number(-0.0, 0.5)],
            ["0.00002", "0.001", "0"]
        );
    }

    #[test]
    fn an_axis_of_one_value_has_a_length() {
        let chart = Chart {
            title: "loss",
            x_label: "share",
            series: vec![Series {
                name: "none",
                points: vec![(0.0, 2.0)],
            }],
            line: None,
            from_zero: false,
        };
        let drawn = svg(&[chart]);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        for label in ["0", "0.2", "0.8", "2.2", "3"] {
            let found = drawn.matches(&format!(">{label}<")).count();
            assert_eq!(found, 1, "{label}: {drawn}");
        }
    }

    #[test]
    fn one_point_is_no_line_and_long_names_are_cut() {
        let series = |name, points| Series { name, points };
        let chart = Chart {
            title: "loss",
            x_label: "share",
            series: vec![
                series("fixed:5.attn,10.attn,14.attn,26-27.attn", vec![(4.0, 2.0)]),
                series("none", Vec::new()),
            ],
            line: None,
            from_zero: false,
        };
        let drawn = svg(&[chart]);
        assert!(!drawn.contains("<polyline"));
        assert!(drawn.contains(">fixed:5.attn,10.attn,14.…<"), "{drawn}");
    }

    #[test]
    fn every_point_is_drawn() {
        let chart = Chart {
            title: "decode",
            x_label: "tokens",
            series: vec![Series {
                name: "a < b",
                points: vec![(0.0, 1.0), (10.0, 2.0)],
            }],
            line: Some((1.0, 0.1)),
            from_zero: true,
        };
        let one = svg(&[chart.clone(), chart.clone()]);
        assert_eq!(one.matches("<circle").count(), 4);
        assert!(one.starts_with("<svg") && one.ends_with("</svg>\n") && !one.contains("NaN"));
        assert!(!one.contains("a &lt; b"), "one series needs no name");
        // What has no points leaves no gap below, and keeps the others' colours.
        let gap = Chart {
            series: vec![
                Series {
                    points: Vec::new(),
                    ..chart.series[0].clone()
                },
                chart.series[0].clone(),
            ],
            ..chart.clone()
        };
        let gap = svg(&[gap]);
        assert!(gap.contains(COLOURS[1]) && !gap.contains(COLOURS[0]));
        assert!(gap.contains(&format!("height=\"{}\"", HEIGHT + LEGEND)));
        let many = Chart {
            series: vec![chart.series[0].clone(); 9],
            ..chart
        };
        let many = svg(&[many]);
        // Two points and a mark in the legend each; the eighth and the ninth are squares.
        assert_eq!(many.matches("<circle").count(), 3 * 7);
        assert_eq!(many.matches("<rect").count(), 3 * 2);
        assert_eq!(many.matches("a &lt; b").count(), 9);
    }

    #[test]
    fn an_axis_that_begins_near_the_least_shows_small_differences() {
        let chart = |from_zero| Chart {
            title: "loss",
            x_label: "%",
            series: vec![Series {
                name: "loss",
                points: vec![(0.0, 2.0), (5.0, 2.1)],
            }],
            line: None,
            from_zero,
        };
        assert!(svg(&[chart(true)]).contains(">0.5<"));
        let near = svg(&[chart(false)]);
        assert!(near.contains(">2.05<") && !near.contains(">0.5<") && !near.contains("NaN"));
    }
}
