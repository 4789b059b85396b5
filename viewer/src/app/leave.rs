//! What was run and is not saved is not lost in one click.

use super::App;
use crate::session::Session;
use eframe::egui::{Context, Id, Modal, RichText, Ui, ViewportCommand};
use std::path::PathBuf;

/// What would lose it.
pub(super) enum Leave {
    /// To look at another session, and the file that it is from.
    Look(Box<Session>, Option<PathBuf>),
    /// To close the window.
    Close,
}

/// What of the session is on the disk.
#[derive(Default)]
pub(super) struct Saved {
    runs: usize,
    /// Something was measured of runs since.
    pub(super) behind: bool,
}

/// What the user wants to do about it.
enum Answer {
    Save,
    Discard,
    Cancel,
}

impl App {
    /// The session is as it is on the disk.
    pub(super) fn mark_saved(&mut self) {
        self.saved = Saved {
            runs: self.session.runs.len(),
            behind: false,
        };
    }

    /// What would be lost, in words.
    fn unsaved(&self) -> Option<String> {
        match self.session.runs.len().saturating_sub(self.saved.runs) {
            0 if self.saved.behind => Some("What was measured is not saved.".to_owned()),
            0 => None,
            1 => Some("1 run is not saved.".to_owned()),
            count => Some(format!("{count} runs are not saved.")),
        }
    }

    /// Does what loses what is not saved, or asks first.
    pub(super) fn leave(&mut self, context: &Context, leave: Leave) {
        match self.unsaved() {
            Some(_) => self.leaving = Some(leave),
            None => self.go(context, leave),
        }
    }

    fn go(&mut self, context: &Context, leave: Leave) {
        match leave {
            Leave::Look(session, from) => {
                self.look_at(*session);
                self.files.is_new();
                if let Some(path) = from {
                    self.came_from(&path);
                }
            }
            Leave::Close => self.close(context),
        }
    }

    /// Closes the window, whatever is not saved.
    pub(super) fn close(&mut self, context: &Context) {
        self.stop();
        // What still comes in would have to be saved.
        self.generation += 1;
        self.mark_saved();
        context.send_viewport_cmd(ViewportCommand::Close);
    }

    /// Keeps the window open while there is something to ask.
    pub(super) fn hear_close(&mut self, context: &Context) {
        let asked = context.input(|input| input.viewport().close_requested());
        if asked && self.unsaved().is_some() {
            context.send_viewport_cmd(ViewportCommand::CancelClose);
            self.leaving = Some(Leave::Close);
        }
    }

    /// Asks what to do about what is not saved, if that is the question.
    pub(super) fn ask(&mut self, context: &Context) {
        let Some(leave) = &self.leaving else { return };
        let Some(unsaved) = self.unsaved() else {
            self.leaving = None;
            return;
        };
        // The file that is opened would be lost instead.
        let path = match leave {
            Leave::Look(_, Some(_)) => None,
            _ => Some(self.files.session_path()),
        };
        let modal = Modal::new(Id::unique("unsaved")).show(context, |ui| {
            ui.label(RichText::new(unsaved).strong());
            let name = path.as_ref().map(|path| path.display().to_string());
            answer(ui, name)
        });
        let answer = match modal.should_close() {
            true => Some(Answer::Cancel),
            false => modal.inner,
        };
        let Some(answer) = answer else { return };
        let Some(leave) = self.leaving.take() else {
            return;
        };
        match (answer, path) {
            (Answer::Cancel, _) => {}
            (Answer::Save, Some(path)) => self.save_then(context, path, Some(leave)),
            _ => self.go(context, leave),
        }
    }
}

/// A file that holds another session, and what is to be done once it is replaced.
pub(super) struct Replace {
    path: PathBuf,
    then: Option<Leave>,
}

impl App {
    /// Saves, and does what was waiting for it; asks first where that would replace another session.
    pub(super) fn save_then(&mut self, context: &Context, path: PathBuf, then: Option<Leave>) {
        if self.files.is_of_another(&path) {
            self.replacing = Some(Replace { path, then });
        } else if self.save(&path)
            && let Some(leave) = then
        {
            self.go(context, leave);
        }
    }

    /// Asks whether to replace another session, if that is the question.
    pub(super) fn ask_to_replace(&mut self, context: &Context) {
        let Some(Replace { path, .. }) = &self.replacing else {
            return;
        };
        let modal = Modal::new(Id::unique("replace")).show(context, |ui| {
            let text = format!("{} holds another session.", path.display());
            ui.label(RichText::new(text).strong());
            let [replace, cancel] = ["Replace it", "Cancel"].map(|name| ui.button(name).clicked());
            replace.then_some(true).or(cancel.then_some(false))
        });
        let answer = match modal.should_close() {
            true => Some(false),
            false => modal.inner,
        };
        let Some(replace) = answer else { return };
        let asked = self.replacing.take().filter(|_| replace);
        let Some(Replace { path, then }) = asked else {
            return;
        };
        if self.save(&path)
            && let Some(leave) = then
        {
            self.go(context, leave);
        }
    }
}

fn answer(ui: &mut Ui, save_to: Option<String>) -> Option<Answer> {
    let mut answer = None;
    if save_to.is_none() {
        ui.label("To keep it, cancel and save it under another name.");
    }
    ui.horizontal(|ui| {
        if let Some(name) = save_to
            && ui.button(format!("Save to {name}")).clicked()
        {
            answer = Some(Answer::Save);
        }
        for (name, meaning) in [("Discard", Answer::Discard), ("Cancel", Answer::Cancel)] {
            if ui.button(name).clicked() {
                answer = Some(meaning);
            }
        }
    });
    answer
}
