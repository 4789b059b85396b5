//! A figure: shapes in points. Drawn once by a panel, then shown by egui or written as SVG or PNG.

mod png;
mod svg;
mod table;

pub use table::{Table, Value};

use crate::palette::Palette;
use crate::width::columns;
use eframe::egui::{
    self, Align2, Color32, FontId, Key, Mesh, Pos2, Rect, Sense, Shape, Stroke, Vec2, pos2, vec2,
};

/// A box of one colour.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Where.
    pub rect: Rect,
    /// Its colour.
    pub fill: Color32,
    /// What a pointer that rests on it is told, and who steps there by keyboard.
    pub tip: String,
    /// What a click on it means to the panel.
    pub id: Option<usize>,
}

/// Where the place of a text is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The text begins there.
    Left,
    /// Its middle is there.
    Middle,
    /// The text ends there.
    Right,
}

/// A line of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Where, at half its height.
    pub at: Pos2,
    /// What of it is there.
    pub anchor: Anchor,
    /// Its colour.
    pub color: Color32,
    /// What it says.
    pub text: String,
    /// Whether all letters are [`MONO_ADVANCE`] wide.
    pub mono: bool,
}

/// Where arrow keys have gone in a figure.
#[derive(Clone, Copy)]
struct Cursor {
    at: Pos2,
    /// Whether the pointer has not moved since.
    latest: bool,
}

/// A line through points.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its points.
    pub points: Vec<Pos2>,
    /// Its colour.
    pub color: Color32,
    /// How thick it is.
    pub width: f32,
}

/// Shapes in points, from the top left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Boxes, drawn first.
    pub cells: Vec<Cell>,
    /// Lines, drawn over them.
    pub lines: Vec<Line>,
    /// Text, drawn last.
    pub labels: Vec<Label>,
    /// Width and height.
    pub size: Vec2,
    /// What it shows, in a sentence, for those who do not see it.
    pub about: String,
}

/// What was done to a figure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heard {
    /// The box that was clicked.
    pub clicked: Option<usize>,
    /// How far it was dragged to the right, in points.
    pub drag: f32,
    /// By how much it was zoomed; 1 for not at all.
    pub zoom: f32,
    /// Where the pointer is, from the left.
    pub at: f32,
    /// The width that the figure was drawn for.
    pub width: f32,
}

/// The height of text.
const TEXT: f32 = 12.0;

/// The width of a letter, on average.
const LETTER: f32 = 5.6;

/// The width of a letter of the fixed-width font, in points.
pub const MONO_ADVANCE: f32 = 7.225;

/// Boxes narrower than this have no room for round corners, and are drawn as one mesh.
const SMALL: f32 = 9.0;

impl Figure {
    /// A figure that says why there is nothing to see.
    pub fn note(palette: &Palette, text: &str) -> Self {
        let mut figure = Self::default();
        figure.summary(pos2(8.0, 20.0), palette.muted, text);
        figure
    }

    /// The same below a line of text.
    pub fn captioned(mut self, palette: &Palette, text: String) -> Self {
        let down = vec2(0.0, 24.0);
        for cell in &mut self.cells {
            cell.rect = cell.rect.translate(down);
        }
        for point in self.lines.iter_mut().flat_map(|line| &mut line.points) {
            *point += down;
        }
        for label in &mut self.labels {
            label.at += down;
        }
        self.size += down;
        self.text(pos2(8.0, 8.0), palette.muted, text);
        self
    }

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

    /// Adds what the row of a table says, to who rests on it or steps there; boxes that are added later lie above it.
    pub fn row(&mut self, rect: Rect, tip: String) {
        self.cell(rect, Color32::TRANSPARENT, tip, None);
    }

    /// Adds a line.
    pub fn line(&mut self, points: Vec<Pos2>, color: Color32, width: f32) {
        for point in &points {
            self.size = self.size.max(point.to_vec2());
        }
        self.lines.push(Line {
            points,
            color,
            width,
        });
    }

    /// Adds text that begins at `at`.
    pub fn text(&mut self, at: Pos2, color: Color32, text: impl Into<String>) {
        self.label(at, Anchor::Left, color, text.into());
    }

    /// Adds text that begins at `at` and says what the whole figure shows.
    pub fn summary(&mut self, at: Pos2, color: Color32, text: impl Into<String>) {
        self.about = text.into();
        self.text(at, color, self.about.clone());
    }

    /// Adds text that ends at `at`.
    pub fn text_right(&mut self, at: Pos2, color: Color32, text: impl Into<String>) {
        self.label(at, Anchor::Right, color, text.into());
    }

    /// Adds text around `at`.
    pub fn text_middle(&mut self, at: Pos2, color: Color32, text: impl Into<String>) {
        self.label(at, Anchor::Middle, color, text.into());
    }

    /// Adds text of fixed width that begins at `at`.
    pub fn mono(&mut self, at: Pos2, color: Color32, text: impl Into<String>) {
        self.add(at, Anchor::Left, color, text.into(), true);
    }

    /// Adds text of which that much is at `at`.
    pub fn label(&mut self, at: Pos2, anchor: Anchor, color: Color32, text: String) {
        self.add(at, anchor, color, text, false);
    }

    fn add(&mut self, at: Pos2, anchor: Anchor, color: Color32, text: String, mono: bool) {
        // How wide text is only a font knows; this is about right.
        let letter = if mono { MONO_ADVANCE } else { LETTER };
        let width = letter * columns(&text) as f32;
        let right = match anchor {
            Anchor::Left => at.x + width,
            Anchor::Middle => at.x + width / 2.0,
            Anchor::Right => at.x,
        };
        self.size = self.size.max(vec2(right, at.y + TEXT));
        self.labels.push(Label {
            at,
            anchor,
            color,
            text,
            mono,
        });
    }

    /// Draws what is visible, and says what was done to it. `name` is what screen readers hear; arrow keys
    /// step from box to box, Enter clicks.
    pub fn show(&self, ui: &mut egui::Ui, name: &str) -> Heard {
        let (response, painter) = ui.allocate_painter(self.size, Sense::click_and_drag());
        let origin = response.rect.min.to_vec2();
        self.paint(&painter, origin);
        let cursor = self.step(ui, &response, origin, name);
        let pointed = response.hover_pos().map(|at| at - origin);
        // A pointer that rests says nothing about where arrow keys have gone since.
        let keyed = cursor.filter(|cursor| cursor.latest || pointed.is_none());
        let at = keyed.map(|cursor| cursor.at).or(pointed);
        // What says nothing hides nothing that lies below it.
        let says = |cell: &&Cell| !cell.tip.is_empty() || cell.id.is_some();
        let mut cells = self.cells.iter().rev().filter(says);
        let hit = at.and_then(|at| cells.find(|cell| cell.rect.contains(at)));
        let said = hit.map(|cell| cell.tip.clone());
        response.widget_info(|| {
            let mut info = egui::WidgetInfo::labeled(egui::Role::Image, true, name);
            info.current_text_value.clone_from(&said);
            info
        });
        ui.ctx().accesskit_node_builder(response.id, |node| {
            node.set_description(self.about.as_str());
        });
        let mut heard = Heard {
            drag: response.drag_delta().x,
            zoom: 1.0,
            at: pointed.map_or(0.0, |at| at.x),
            ..Heard::default()
        };
        if pointed.is_some() {
            heard.zoom = ui.input(egui::InputState::zoom_delta);
        }
        let Some(hit) = hit else { return heard };
        let stroke = Stroke::new(1.5, Palette::from_ui(ui).text);
        let outline = hit.rect.translate(origin);
        painter.rect_stroke(outline, 2.0, stroke, egui::StrokeKind::Inside);
        heard.clicked = hit.id.filter(|_| response.clicked());
        if !hit.tip.is_empty() && keyed.is_none() {
            response.on_hover_text_at_pointer(&hit.tip);
        } else if !hit.tip.is_empty() {
            response.show_tooltip_text(&hit.tip);
        }
        heard
    }

    /// Where the keyboard is, if it is here, after this frame's arrow keys.
    fn step(
        &self,
        ui: &egui::Ui,
        response: &egui::Response,
        origin: Vec2,
        name: &str,
    ) -> Option<Cursor> {
        if !response.has_focus() {
            return None;
        }
        let filter = egui::EventFilter {
            horizontal_arrows: true,
            vertical_arrows: true,
            ..Default::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        // Panels take turns in one place of the window, and each has its own.
        let own = response.id.with(name);
        let cursor: Option<Cursor> = ui.data(|data| data.get_temp(own));
        let first = || {
            let at = self.stops().next()?.rect.center();
            Some(Cursor { at, latest: true })
        };
        let Cursor { mut at, mut latest } = cursor.or_else(first)?;
        let moved = |input: &egui::InputState| {
            input.pointer.delta() != Vec2::ZERO || input.pointer.any_pressed()
        };
        latest &= !ui.input(moved);
        for (key, way) in [
            (Key::ArrowLeft, vec2(-1.0, 0.0)),
            (Key::ArrowRight, vec2(1.0, 0.0)),
            (Key::ArrowUp, vec2(0.0, -1.0)),
            (Key::ArrowDown, vec2(0.0, 1.0)),
        ] {
            if ui.input(|input| input.key_pressed(key)) {
                at = self.next(at, way).unwrap_or(at);
                latest = true;
                ui.scroll_to_rect(Rect::from_center_size(at + origin, Vec2::splat(24.0)), None);
            }
        }
        let cursor = Cursor { at, latest };
        ui.data_mut(|data| data.insert_temp(own, cursor));
        Some(cursor)
    }

    /// The boxes that say something.
    fn stops(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| !cell.tip.is_empty())
    }

    /// The middle of the nearest box from `at` in the direction of `way`.
    fn next(&self, at: Pos2, way: Vec2) -> Option<Pos2> {
        let distance = |to: Pos2| {
            let (along, across) = ((to - at).dot(way), (to - at).dot(way.rot90()).abs());
            (along > 0.5).then_some(along + 4.0 * across)
        };
        let near = self.stops().filter_map(|cell| {
            let to = cell.rect.center();
            distance(to).map(|distance| (distance, to))
        });
        let nearest = near.min_by(|a, b| a.0.total_cmp(&b.0));
        nearest.map(|(_, to)| to)
    }

    /// Draws what lies within the painter's clip.
    fn paint(&self, painter: &egui::Painter, origin: Vec2) {
        let visible = painter.clip_rect().translate(-origin);
        let scale = painter.pixels_per_point();
        let snap = |value: f32| (value * scale).round() / scale;
        let mut mesh = Mesh::default();
        for cell in &self.cells {
            if !cell.rect.intersects(visible) {
                continue;
            }
            let rect = cell.rect.translate(origin);
            if rect.width().min(rect.height()) >= SMALL {
                // What came before stays below.
                if !mesh.is_empty() {
                    painter.add(Shape::mesh(std::mem::take(&mut mesh)));
                }
                painter.rect_filled(rect, 2.0, cell.fill);
                continue;
            }
            // On whole pixels, so that gaps are even; never narrower than one.
            let min = pos2(snap(rect.min.x), snap(rect.min.y));
            let max = pos2(snap(rect.max.x), snap(rect.max.y)).max(min + Vec2::splat(1.0 / scale));
            mesh.add_colored_rect(Rect::from_min_max(min, max), cell.fill);
        }
        painter.add(Shape::mesh(mesh));
        for line in &self.lines {
            let points = line.points.iter().map(|point| *point + origin).collect();
            painter.line(points, Stroke::new(line.width, line.color));
        }
        let margin = visible.expand(TEXT);
        for label in &self.labels {
            if !margin.y_range().contains(label.at.y) {
                continue;
            }
            let align = match label.anchor {
                Anchor::Left => Align2::LEFT_CENTER,
                Anchor::Middle => Align2::CENTER_CENTER,
                Anchor::Right => Align2::RIGHT_CENTER,
            };
            let font = if label.mono {
                FontId::monospace(TEXT)
            } else {
                FontId::proportional(TEXT)
            };
            painter.text(label.at + origin, align, &label.text, font, label.color);
        }
    }
}

/// A rectangle from its corner and size.
pub fn area(x: f32, y: f32, width: f32, height: f32) -> Rect {
    Rect::from_min_size(pos2(x, y), vec2(width, height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui_kittest::kittest::Queryable;

    #[test]
    fn wide_characters_make_a_figure_wider() {
        let size = |text: &str| {
            let mut figure = Figure::default();
            figure.text(pos2(0.0, 0.0), Color32::RED, text);
            figure.size.x
        };
        assert_eq!(size("天地"), 2.0 * size("ab"));
    }

    #[test]
    fn a_pointer_that_rests_hides_no_arrow_keys() {
        let show = |ui: &mut egui::Ui, clicked: &mut Vec<usize>| {
            let mut figure = Figure::default();
            for id in 0..3 {
                let rect = area(40.0 * id as f32, 0.0, 30.0, 30.0);
                figure.cell(rect, Color32::RED, format!("box {id}"), Some(id));
            }
            clicked.extend(figure.show(ui, "boxes").clicked);
        };
        let mut harness = egui_kittest::Harness::builder().build_ui_state(show, Vec::new());
        harness.run();
        let figure = harness.get_by_label("boxes");
        let corner = figure.rect().min;
        figure.focus();
        harness.hover_at(corner + vec2(15.0, 15.0));
        harness.run();
        for key in [Key::ArrowRight, Key::ArrowRight, Key::Enter] {
            harness.key_press(key);
            harness.run();
        }
        assert_eq!(*harness.state(), [2]);
        harness.hover_at(corner + vec2(16.0, 15.0));
        harness.run();
        harness.key_press(Key::Enter);
        harness.run();
        assert_eq!(*harness.state(), [2, 0]);
    }

    #[test]
    fn arrows_go_to_the_nearest_box_that_says_something() {
        let mut figure = Figure::default();
        for (column, tip) in ["a", "", "c"].into_iter().enumerate() {
            for row in 0..2 {
                let rect = area(20.0 * column as f32, 20.0 * row as f32, 10.0, 10.0);
                figure.cell(rect, Color32::RED, tip.to_owned(), None);
            }
        }
        let start = pos2(5.0, 5.0);
        assert_eq!(figure.next(start, vec2(1.0, 0.0)), Some(pos2(45.0, 5.0)));
        assert_eq!(figure.next(start, vec2(0.0, 1.0)), Some(pos2(5.0, 25.0)));
        assert_eq!(figure.next(start, vec2(-1.0, 0.0)), None);
    }
}
