//! A line chart as SVG: what a table of lengths and times looks like.

use std::fmt::Write;

/// One chart.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// Above it.
    pub title: &'a str,
    /// Below the x axis.
    pub x_label: &'a str,
    /// Measured points in order of x.
    pub points: &'a [(f64, f64)],
    /// Value at 0 and slope of a line to draw behind them.
    pub line: Option<(f64, f64)>,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 260.0;
// Margins.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;

/// A step of 1, 2 or 5 times a power of ten that cuts `range` into about five.
fn step(range: f64) -> f64 {
    let rough = (range / 5.0).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter();
    power
        * step
            .clone()
            .find(|step| step * power >= rough)
            .unwrap_or(10.0)
}

/// Charts side by side. Both axes begin at 0, so that heights compare as the numbers do.
pub fn svg(charts: &[Chart<'_>]) -> String {
    let mut out = String::new();
    let width = WIDTH * charts.len() as f64;
    let mut put = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).expect("a string takes everything");
        out.push('\n');
    };
    put(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" height=\"{HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <style>:root {{ color: #24292f }} @media (prefers-color-scheme: dark) {{ :root {{ color: #d0d7de }} }} \
         text {{ fill: currentColor }} .grid {{ stroke: currentColor; opacity: .15 }} \
         .fit {{ stroke: currentColor; opacity: .5; stroke-dasharray: 4 4 }} \
         .data {{ stroke: #0072b2; fill: none; stroke-width: 2 }} .dot {{ fill: #0072b2 }}</style>"
    ));
    for (index, chart) in charts.iter().enumerate() {
        let most = |of: fn(&(f64, f64)) -> f64| chart.points.iter().map(of).fold(1e-9, f64::max);
        let (x_step, y_step) = (step(most(|point| point.0)), step(most(|point| point.1)));
        let x_end = (most(|point| point.0) / x_step).ceil() * x_step;
        let y_end = (most(|point| point.1) / y_step).ceil() * y_step;
        let x = |value: f64| LEFT + value / x_end * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / y_end * (HEIGHT - TOP - BOTTOM);
        let (middle, bottom) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - BOTTOM);
        put(format_args!(
            "<g transform=\"translate({} 0)\">",
            WIDTH * index as f64
        ));
        put(format_args!(
            "<text x=\"{middle}\" y=\"18\" text-anchor=\"middle\" font-weight=\"600\">{}</text>",
            chart.title
        ));
        put(format_args!(
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            chart.x_label
        ));
        for tick in 0..=(y_end / y_step).round() as usize {
            let (value, right) = (tick as f64 * y_step, WIDTH - RIGHT);
            let at = y(value);
            put(format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                number(value)
            ));
        }
        for tick in 0..=(x_end / x_step).round() as usize {
            let value = tick as f64 * x_step;
            put(format_args!(
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x(value),
                bottom + 16.0,
                number(value)
            ));
        }
        if let Some((start, slope)) = chart.line {
            put(format_args!(
                "<line class=\"fit\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
                x(0.0),
                y(start.clamp(0.0, y_end)),
                x(x_end),
                y((start + slope * x_end).clamp(0.0, y_end))
            ));
        }
        let path: Vec<String> = chart
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        put(format_args!(
            "<polyline class=\"data\" points=\"{}\"/>",
            path.join(" ")
        ));
        for point in chart.points {
            put(format_args!(
                "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>",
                x(point.0),
                y(point.1)
            ));
        }
        put(format_args!("</g>"));
    }
    out.push_str("</svg>\n");
    out
}

/// A tick's label: short, without digits that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(step(4096.0), 1000.0);
        assert_eq!(step(30.0), 10.0);
        assert_eq!(step(0.7), 0.2);
        assert_eq!(
            [number(0.0), number(0.2), number(1000.0)],
            ["0", "0.2", "1000"]
        );
    }

    #[test]
    fn every_point_is_drawn() {
        let chart = Chart {
            title: "decode",
            x_label: "tokens",
            points: &[(0.0, 1.0), (10.0, 2.0)],
            line: Some((1.0, 0.1)),
        };
        let svg = svg(&[chart.clone(), chart]);
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
