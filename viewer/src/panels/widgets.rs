//! What panels' toolbars are made of.

use super::{policy_name, short};
use eframe::egui::{Button, ComboBox, Key, Modifiers, Response, TextEdit, Ui};
use first_wgpu::trace::Run;

/// A button that is enabled while the engine takes jobs.
pub(super) fn engine_button(ui: &mut Ui, ready: bool, text: &str) -> Response {
    let button = ui.add_enabled(ready, Button::new(text));
    button.on_disabled_hover_text("no model is ready")
}

/// Whether keys are heard: no question stands in front.
fn hears_keys(ui: &Ui) -> bool {
    ui.memory(|memory| memory.allows_interaction(ui.layer_id()))
}

/// Whether Ctrl and a key were pressed.
pub(crate) fn shortcut(ui: &Ui, key: Key) -> bool {
    hears_keys(ui) && ui.input_mut(|input| input.consume_key(Modifiers::COMMAND, key))
}

/// A button that a key presses too, while nobody writes text.
pub(super) fn key_button(ui: &mut Ui, name: &str, key: Key) -> bool {
    let button = ui.button(name).on_hover_text(key.name());
    let heard = hears_keys(ui) && !ui.ctx().text_edit_focused();
    let pressed = ui.input(|input| input.modifiers.is_none() && input.key_pressed(key));
    button.clicked() || (heard && pressed)
}

/// A field for a file's path, named, as wide as there is room for.
pub(crate) fn file_field(ui: &mut Ui, name: &str, path: &mut String) {
    field(ui, name, path, f32::INFINITY);
}

/// The same among buttons.
pub(super) fn path_field(ui: &mut Ui, name: &str, path: &mut String) {
    field(ui, name, path, 220.0);
}

fn field(ui: &mut Ui, name: &str, path: &mut String, width: f32) {
    let label = ui.label(name);
    let field = TextEdit::singleline(path).desired_width(width);
    ui.add(field).labelled_by(label.id);
}

/// A choice of one of several, named.
pub(super) fn choice(ui: &mut Ui, name: &str, chosen: &str, list: impl FnOnce(&mut Ui)) {
    let label = ui.label(name);
    let choice = ComboBox::from_id_salt(name).selected_text(chosen);
    choice.show_ui(ui, list).response.labelled_by(label.id);
}

/// The choice of the run that the selected one is compared with, among the others that can be; of none, where that is
/// optional.
pub(super) fn other_run(
    ui: &mut Ui,
    runs: &[Run],
    selected: usize,
    other: &mut Option<usize>,
    optional: bool,
    can: impl Fn(&Run) -> bool,
) {
    let named = |index: usize| {
        let run = runs
            .get(index)
            .filter(|run| index != selected && can(run))?;
        Some(format!("{} {}", index + 1, short(policy_name(run), 24)))
    };
    let nothing = if optional { "no run" } else { "itself" };
    let chosen = other.and_then(named);
    let chosen = chosen.as_deref().unwrap_or(nothing);
    choice(ui, "compare with run", chosen, |ui| {
        if optional {
            ui.selectable_value(other, None, nothing);
        }
        for index in 0..runs.len() {
            if let Some(name) = named(index) {
                ui.selectable_value(other, Some(index), name);
            }
        }
    });
}
