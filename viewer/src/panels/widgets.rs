//! What panels' toolbars are made of.

use super::short;
use eframe::egui::{Button, ComboBox, TextEdit, Ui};
use first_wgpu::trace::Run;

/// A button that is enabled while the engine takes jobs.
pub(super) fn engine_button(ui: &mut Ui, ready: bool, text: &str) -> bool {
    let button = ui.add_enabled(ready, Button::new(text));
    button.on_disabled_hover_text("no model is ready").clicked()
}

/// A field for a file's path, named.
pub(super) fn path_field(ui: &mut Ui, name: &str, path: &mut String) {
    let label = ui.label(name);
    let field = TextEdit::singleline(path).desired_width(220.0);
    ui.add(field).labelled_by(label.id);
}

/// A choice of one of several, named.
pub(super) fn choice(ui: &mut Ui, name: &str, chosen: &str, list: impl FnOnce(&mut Ui)) {
    let label = ui.label(name);
    let choice = ComboBox::from_id_salt(name).selected_text(chosen);
    choice.show_ui(ui, list).response.labelled_by(label.id);
}

/// The choice of the run that the selected one is compared with, among those that can be.
pub(super) fn other_run(ui: &mut Ui, runs: &[Run], other: &mut usize, can: impl Fn(&Run) -> bool) {
    let name = |index: usize| {
        let run = runs.get(index);
        run.map_or(String::new(), |run| {
            format!("{} {}", index + 1, short(&run.policy, 24))
        })
    };
    let able = |index: usize| runs.get(index).is_some_and(&can);
    let chosen = if able(*other) {
        name(*other)
    } else {
        "none".to_owned()
    };
    choice(ui, "compare with run", &chosen, |ui| {
        for index in (0..runs.len()).filter(|index| able(*index)) {
            ui.selectable_value(other, index, name(index));
        }
    });
}
