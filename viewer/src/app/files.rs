//! Loading, saving and exporting.

use super::leave::{Leave, Question};
use super::{App, Message};
use crate::export::export;
use crate::palette::Palette;
use crate::panels::{PANELS, View, file_field, shortcut};
use crate::session::{Session, is_session};
use eframe::egui::{Context, Key, Theme, Ui};
use first_wgpu::Result;
use std::path::{Path, PathBuf};

/// The paths that the user has filled in.
pub(super) struct Files {
    /// Where what is looked at was read from or saved to.
    home: Option<PathBuf>,
    session: String,
    export: String,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            home: None,
            session: "session.json".to_owned(),
            export: "panel.png".to_owned(),
        }
    }
}

impl Files {
    /// The session is that of a file.
    pub(super) fn is_of(&mut self, path: &Path) {
        self.session = path.display().to_string();
        self.home = std::fs::canonicalize(path).ok();
    }

    /// The session is of no file.
    pub(super) fn is_new(&mut self) {
        self.home = None;
    }

    /// Whether saving to a file would replace another session.
    pub(super) fn is_of_another(&self, path: &Path) -> bool {
        // Its own is not read for that.
        self.home != std::fs::canonicalize(path).ok() && is_session(path)
    }

    /// Where *Save* writes to.
    pub(super) fn session_path(&self) -> PathBuf {
        PathBuf::from(&self.session)
    }
}

impl App {
    pub(super) fn files(&mut self, ui: &mut Ui) {
        file_field(ui, "Session file", &mut self.files.session);
        ui.horizontal(|ui| {
            let path = self.files.session_path();
            let save = ui.button("Save").on_hover_text("Ctrl+S");
            if save.clicked() || shortcut(ui, Key::S) {
                self.save_then(ui.ctx(), path.clone(), None);
            }
            let open = ui.button("Open");
            let open = open.on_hover_text("Ctrl+O; or drop a file on the window");
            if open.clicked() || shortcut(ui, Key::O) {
                self.open(ui.ctx(), &path);
            }
            if ui
                .button("Demo")
                .on_hover_text("a recorded session")
                .clicked()
            {
                self.message = None;
                let demo = Box::new(Session::demo());
                self.leave(ui.ctx(), Leave::Look(demo, None));
            }
        });
        file_field(ui, "Export this panel to", &mut self.files.export);
        let button = ui.button("Export");
        let button = button.on_hover_text("the ending says as what: .png, .svg, .csv or .json");
        if button.clicked() {
            let path = PathBuf::from(&self.files.export);
            // A session is refused, whatever the answer.
            if path.is_file() && !is_session(&path) {
                self.asking = Some(Question::Export(path));
            } else {
                self.export(ui.ctx(), &path);
            }
        }
    }

    /// Writes the open panel to a file.
    pub(super) fn export(&mut self, context: &Context, path: &Path) {
        let palette = Palette::of(context.theme() == Theme::Dark);
        let view = View::exported(&self.session, &self.state, palette);
        let result = export(&PANELS[self.panel], &view, path);
        self.tell("written to", path, result);
    }

    /// Saves the session, and says whether it is saved.
    pub(super) fn save(&mut self, path: &Path) -> bool {
        let result = self.session.save(path);
        let saved = result.is_ok();
        if saved {
            self.mark_saved();
            self.files.is_of(path);
        }
        self.tell("saved to", path, result);
        saved
    }

    fn tell(&mut self, done: &str, path: &Path, result: Result<()>) {
        self.message = Some(match result {
            Ok(()) => Message {
                text: format!("{done} {}", path.display()),
                bad: false,
            },
            Err(error) => Message::bad(&error),
        });
    }

    /// Opens a file that was dropped on the window, unless a question stands in front.
    pub(super) fn hear_drop(&mut self, context: &Context) {
        let asked = self.leaving.is_some() || self.asking.is_some();
        let dropped = context.input(|input| input.raw.dropped_files.first().cloned());
        if let Some(file) = dropped.filter(|_| !asked) {
            self.open(context, file.path());
        }
    }

    /// What is on screen stays if the file is bad.
    fn open(&mut self, context: &Context, path: &Path) {
        match Session::load_as(path) {
            Ok((session, kind)) => {
                self.message = None;
                let from = Some((path.to_owned(), kind));
                self.leave(context, Leave::Look(Box::new(session), from));
            }
            Err(error) => self.message = Some(Message::bad(&error)),
        }
    }
}
