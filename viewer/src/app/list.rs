//! The list of runs.

use super::App;
use crate::panels::policy_name;
use crate::width::short;
use eframe::egui::{self, Rect, RichText, ScrollArea, Ui};

impl App {
    pub(super) fn runs(&mut self, ui: &mut Ui) {
        let runs = &self.session.runs;
        ui.label(RichText::new(format!("Runs ({})", runs.len())).strong());
        let height = ui.spacing().interact_size.y;
        let selected = self.state.selected;
        let moved = std::mem::replace(&mut self.listed, selected) != selected;
        let mut chosen = None;
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show_rows(ui, height, runs.len(), |ui, rows| {
                if moved {
                    // It may be out of sight, where no row is drawn.
                    let step = height + ui.spacing().item_spacing.y;
                    let area = ui.max_rect();
                    let top = area.top() + step * (selected as f32 - rows.start as f32);
                    let row = Rect::from_x_y_ranges(area.x_range(), top..=top + height);
                    ui.scroll_to_rect(row, None);
                }
                for index in rows {
                    let run = &runs[index];
                    let policy = short(policy_name(run), 40);
                    let line = format!("{} {policy} · {}", index + 1, short(&run.prompt, 80));
                    let row = egui::Button::selectable(index == selected, line).truncate();
                    let left = egui::Layout::top_down_justified(egui::Align::Min);
                    if ui.with_layout(left, |ui| ui.add(row)).inner.clicked() {
                        chosen = Some(index);
                    }
                }
            });
        if let Some(index) = chosen {
            self.state.select(index);
        }
    }
}
