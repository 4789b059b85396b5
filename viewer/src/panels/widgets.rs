//! What panels' controls are made of.

use eframe::egui::{Button, ComboBox, TextEdit, Ui};

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
