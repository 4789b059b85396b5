//! What was run and is not saved is not lost in one click.

use super::App;
use crate::session::{Kind, Session};
use eframe::egui::{Context, Id, Modal, RichText, Ui, ViewportCommand};
use std::path::{Path, PathBuf};

/// What would lose it.
pub(super) enum Leave {
    /// To look at another session, and the file that it is from.
    Look(Box<Session>, Option<(PathBuf, Kind)>),
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
        let saved = match self.session.runs.len().saturating_sub(self.saved.runs) {
            0 if self.saved.behind => Some("What was measured is not saved.".to_owned()),
            0 => None,
            1 => Some("1 run is not saved.".to_owned()),
            count => Some(format!("{count} runs are not saved.")),
        };
        // What was asked for another session was given up already.
        let runs = self.progress.busy && self.asked == self.generation;
        let runs = runs.then(|| "What runs now is not finished.".to_owned());
        let lost: Vec<String> = saved.into_iter().chain(runs).collect();
        (!lost.is_empty()).then(|| lost.join(" "))
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
                if let Some((path, kind)) = from {
                    self.came_from(&path, kind);
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
            self.asking = None;
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
        let answer = if modal.should_close() {
            Some(Answer::Cancel)
        } else {
            modal.inner
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

/// What else would lose something.
pub(super) enum Question {
    /// To save over another session, and what is to be done then.
    Replace(PathBuf, Option<Leave>),
    /// To export a panel over another file.
    Export(PathBuf),
    /// To drop what each dispatch took.
    ForgetTimes,
}

impl Question {
    /// What is lost, and what the button says that does it.
    fn words(&self) -> (String, &'static str) {
        match self {
            Self::Replace(path, _) => {
                let lost = format!("{} holds another session.", path.display());
                (lost, "Replace it")
            }
            Self::Export(path) => {
                let lost = format!("{} is there already.", path.display());
                (lost, "Replace it")
            }
            Self::ForgetTimes => {
                let lost = "What each dispatch of each run took is dropped; runs and answers stay.";
                (lost.to_owned(), "Forget it")
            }
        }
    }
}

impl App {
    /// Saves, and does what was waiting for it; asks first where that would replace another session.
    pub(super) fn save_then(&mut self, context: &Context, path: PathBuf, then: Option<Leave>) {
        if self.files.is_of_another(&path) {
            self.asking = Some(Question::Replace(path, then));
        } else {
            self.save_and_go(context, &path, then);
        }
    }

    fn save_and_go(&mut self, context: &Context, path: &Path, then: Option<Leave>) {
        if self.save(path)
            && let Some(leave) = then
        {
            self.go(context, leave);
        }
    }

    /// Asks whether to do what would lose something, if that is the question.
    pub(super) fn ask_whether(&mut self, context: &Context) {
        let Some(question) = &self.asking else { return };
        let (lost, does_it) = question.words();
        let modal = Modal::new(Id::unique("whether")).show(context, |ui| {
            ui.label(RichText::new(lost).strong());
            let [yes, no] = [does_it, "Cancel"].map(|name| ui.button(name).clicked());
            yes.then_some(true).or(no.then_some(false))
        });
        let answer = if modal.should_close() {
            Some(false)
        } else {
            modal.inner
        };
        let Some(yes) = answer else { return };
        match self.asking.take().filter(|_| yes) {
            Some(Question::Replace(path, then)) => self.save_and_go(context, &path, then),
            Some(Question::Export(path)) => self.export(context, &path),
            Some(Question::ForgetTimes) => self.forget_times(),
            None => {}
        }
    }

    fn forget_times(&mut self) {
        for run in &mut self.session.runs {
            run.dispatches.clear();
        }
        self.revision += 1;
        self.saved.behind = true;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_would_be_lost_too() {
        let context = Context::default();
        let mut app = App::new(&context, Session::demo(), None);
        assert_eq!(app.unsaved(), None);
        app.progress.busy = true;
        assert_eq!(app.unsaved(), None, "it was asked for another session");
        app.asked = app.generation;
        let runs = "What runs now is not finished.";
        assert_eq!(app.unsaved().as_deref(), Some(runs));
        app.saved.runs -= 1;
        let both = format!("1 run is not saved. {runs}");
        assert_eq!(app.unsaved(), Some(both));
        app.close(&context);
        assert_eq!(app.unsaved(), None, "it was given up");
    }
}
