//! A figure as an SVG file.

use super::{Anchor, Cell, Figure, TEXT};
use crate::palette::Palette;
use eframe::egui::Color32;
use std::fmt::Write;

impl Figure {
    /// The figure as an SVG file.
    pub fn svg(&self, palette: &Palette) -> String {
        let (width, height) = (self.size.x + 8.0, self.size.y + 8.0);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"{TEXT}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n",
            hex(palette.background)
        );
        for Cell {
            rect, fill, tip, ..
        } in &self.cells
        {
            let (x, y, width, height) = (rect.min.x, rect.min.y, rect.width(), rect.height());
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{}\"{}><title>{}</title></rect>",
                hex(*fill),
                // Rows have no colour, but say something to a pointer.
                if *fill == Color32::TRANSPARENT {
                    " pointer-events=\"all\""
                } else {
                    ""
                },
                escape(tip)
            );
        }
        for line in &self.lines {
            let at = |point: &eframe::egui::Pos2| format!("{:.1},{:.1}", point.x, point.y);
            let points: Vec<String> = line.points.iter().map(at).collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"/>",
                points.join(" "),
                hex(line.color),
                line.width
            );
        }
        for label in &self.labels {
            let anchor = match label.anchor {
                Anchor::Left => "start",
                Anchor::Middle => "middle",
                Anchor::Right => "end",
            };
            let family = if label.mono {
                " font-family=\"monospace\" xml:space=\"preserve\""
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" dominant-baseline=\"central\" text-anchor=\"{anchor}\" fill=\"{}\"{family}>{}</text>",
                label.at.x,
                label.at.y,
                hex(label.color),
                escape(&label.text)
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

fn hex(color: Color32) -> String {
    match color {
        Color32::TRANSPARENT => "none".to_owned(),
        _ => format!("#{:02x}{:02x}{:02x}", color.r(), color.g(), color.b()),
    }
}

/// Text as XML may hold it: prompts hold anything.
fn escape(text: &str) -> String {
    let allowed = |symbol: &char| !symbol.is_control() || *symbol == '\n';
    let text: String = text.chars().filter(allowed).collect();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::area;
    use super::*;

    #[test]
    fn rows_are_heard_though_nothing_is_seen() {
        let mut figure = Figure::default();
        figure.row(area(0.0, 0.0, 4.0, 4.0), "a row".to_owned());
        let svg = figure.svg(&Palette::LIGHT);
        let row = "fill=\"none\" pointer-events=\"all\"><title>a row</title>";
        assert!(svg.contains(row), "{svg}");
    }

    #[test]
    fn hostile_text_stays_text() {
        let mut figure = Figure::default();
        let tip = "</title><script>&\u{0}".to_owned();
        figure.cell(area(0.0, 0.0, 4.0, 4.0), Color32::RED, tip, None);
        let svg = figure.svg(&Palette::LIGHT);
        assert!(
            svg.contains("&lt;script&gt;&amp;<") && !svg.contains('\u{0}'),
            "{svg}"
        );
    }
}
