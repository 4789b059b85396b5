//! A figure: shapes in points. Drawn once by a panel, shown by egui or written as SVG.

use crate::palette::Palette;
use eframe::egui::{self, Align2, Color32, FontId, Pos2, Rect, Sense, Stroke, Vec2, pos2, vec2};
use std::fmt::Write;

/// A box of one colour.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Where.
    pub rect: Rect,
    /// Its colour.
    pub fill: Color32,
    /// What a pointer that rests on it is told.
    pub tip: String,
    /// What a click on it means to the panel's owner.
    pub id: Option<usize>,
}

/// A line of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The middle of the left, or right, edge.
    pub at: Pos2,
    /// Whether `at` is the right edge.
    pub right: bool,
    /// Its colour.
    pub color: Color32,
    /// What it says.
    pub text: String,
}

/// Shapes in points, from the top left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Boxes, drawn first.
    pub cells: Vec<Cell>,
    /// Text, drawn over them.
    pub labels: Vec<Label>,
    /// Width and height.
    pub size: Vec2,
}

/// The height of text.
const TEXT: f32 = 12.0;

impl Figure {
    /// Adds a box.
    pub fn cell(&mut self, rect: Rect, fill: Color32, tip: String, id: Option<usize>) {
        self.size = self.size.max(rect.max.to_vec2());
        let cell = Cell {
            rect,
            fill,
            tip,
            id,
        };
        self.cells.push(cell);
    }

    /// Adds text that begins at `at`.
    pub fn text(&mut self, at: Pos2, color: Color32, text: impl Into<String>) {
        self.label(at, false, color, text.into());
    }

    /// Adds text that ends at `at`.
    pub fn text_right(&mut self, at: Pos2, color: Color32, text: impl Into<String>) {
        self.label(at, true, color, text.into());
    }

    fn label(&mut self, at: Pos2, right: bool, color: Color32, text: String) {
        self.size = self.size.max(vec2(at.x, at.y + TEXT));
        self.labels.push(Label {
            at,
            right,
            color,
            text,
        });
    }

    /// Draws what is visible, and says which box was clicked. `name` is what screen readers hear.
    pub fn show(&self, ui: &mut egui::Ui, name: &str) -> Option<usize> {
        let (response, painter) = ui.allocate_painter(self.size, Sense::click());
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, name));
        let origin = response.rect.min.to_vec2();
        let visible = painter.clip_rect().translate(-origin);
        for cell in self
            .cells
            .iter()
            .filter(|cell| cell.rect.intersects(visible))
        {
            painter.rect_filled(cell.rect.translate(origin), 2.0, cell.fill);
        }
        let margin = visible.expand(TEXT);
        for label in self
            .labels
            .iter()
            .filter(|label| margin.y_range().contains(label.at.y))
        {
            let align = if label.right {
                Align2::RIGHT_CENTER
            } else {
                Align2::LEFT_CENTER
            };
            let font = FontId::proportional(TEXT);
            painter.text(label.at + origin, align, &label.text, font, label.color);
        }
        let under = response.hover_pos().map(|at| at - origin);
        let hit = under.and_then(|at| self.cells.iter().rev().find(|cell| cell.rect.contains(at)));
        let hit = hit?;
        let stroke = Stroke::new(1.5, Palette::from_ui(ui).text);
        let outline = hit.rect.translate(origin);
        painter.rect_stroke(outline, 2.0, stroke, egui::StrokeKind::Inside);
        let clicked = response.clicked();
        if !hit.tip.is_empty() {
            response.on_hover_text_at_pointer(&hit.tip);
        }
        hit.id.filter(|_| clicked)
    }

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
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{}\"><title>{}</title></rect>",
                hex(*fill),
                escape(tip)
            );
        }
        for label in &self.labels {
            let anchor = if label.right { "end" } else { "start" };
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" dominant-baseline=\"central\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>",
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
    format!("#{:02x}{:02x}{:02x}", color.r(), color.g(), color.b())
}

/// Text as XML may hold it: prompts hold anything.
fn escape(text: &str) -> String {
    let allowed = |symbol: &char| !symbol.is_control() || *symbol == '\n';
    let text: String = text.chars().filter(allowed).collect();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A rectangle from its corner and size.
pub fn area(x: f32, y: f32, width: f32, height: f32) -> Rect {
    Rect::from_min_size(pos2(x, y), vec2(width, height))
}

/// The same data as rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// Cells, as many to a row as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[&'static str]) -> Self {
        let columns = columns.to_vec();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Comma-separated, quoted where needed (RFC 4180).
    pub fn csv(&self) -> String {
        let quote = |cell: &str| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.to_owned(),
        };
        let mut out = self.columns.join(",") + "\n";
        for row in &self.rows {
            out += &row
                .iter()
                .map(|cell| quote(cell))
                .collect::<Vec<_>>()
                .join(",");
            out.push('\n');
        }
        out
    }

    /// A list of objects; cells that are numbers are numbers.
    pub fn json(&self) -> String {
        let value = |cell: &String| match cell.parse::<f64>() {
            Ok(number) if number.is_finite() => serde_json::json!(number),
            _ => serde_json::json!(cell),
        };
        let row = |row: &Vec<String>| -> serde_json::Map<String, serde_json::Value> {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            names.zip(row.iter().map(value)).collect()
        };
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        let text = serde_json::to_string_pretty(&rows);
        text.expect("strings and numbers always have a JSON form") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut table = Table::new(&["prompt", "score"]);
        table
            .rows
            .push(vec!["a, \"b\"\nc".to_owned(), "0.5".to_owned()]);
        assert_eq!(table.csv(), "prompt,score\n\"a, \"\"b\"\"\nc\",0.5\n");
        let json: serde_json::Value = serde_json::from_str(&table.json()).expect("JSON");
        assert_eq!(json[0]["score"], 0.5);
    }
}
