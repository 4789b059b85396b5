//! The form on the left: what to run, and how.

use crate::job::{Choice, Options};
use crate::panels::shortcut;
use crate::prompts::{EXAMPLES, Prompt};
use crate::worker::Progress;
use eframe::egui::{self, DragValue, Key, RichText, Ui};
use first_wgpu::trace::{Detail, Sampling};

/// What the user has filled in.
pub(crate) struct Form {
    prompt: String,
    tag: Option<String>,
    chat: bool,
    routed: bool,
    traced: bool,
    pub(crate) max_tokens: usize,
    sampling: Sampling,
}

/// What the form asks for.
pub(crate) enum Asked {
    /// Run this.
    Run(Prompt, Options),
    /// Stop what runs.
    Stop,
}

impl Default for Form {
    fn default() -> Self {
        let (_, tag, prompt) = EXAMPLES[0];
        Self {
            prompt: prompt.to_owned(),
            tag: Some(tag.to_owned()),
            chat: true,
            routed: false,
            traced: false,
            max_tokens: 64,
            sampling: Sampling::default(),
        }
    }
}

impl Form {
    /// Lets the routers decide from now on, since there are some.
    pub(crate) fn route(&mut self) {
        self.routed = true;
    }

    /// How prompts are run: by the router if it is ticked.
    pub(crate) fn options(&self) -> Options {
        self.options_with(if self.routed {
            Choice::Routed
        } else {
            Choice::Full
        })
    }

    /// The same with another mask.
    pub(crate) fn options_with(&self, choice: Choice) -> Options {
        Options {
            chat: self.chat,
            choice,
            max_tokens: self.max_tokens,
            sampling: self.sampling.clone(),
            detail: if self.traced {
                Detail::Dispatch
            } else {
                Detail::None
            },
        }
    }

    pub(crate) fn prompt(&self) -> Prompt {
        Prompt {
            text: self.prompt.clone(),
            tag: self.tag.clone(),
            completion: None,
        }
    }

    pub(crate) fn ui(&mut self, ui: &mut Ui, progress: &Progress) -> Option<Asked> {
        self.examples(ui);
        let label = ui.label("Prompt");
        let edit = egui::TextEdit::multiline(&mut self.prompt)
            .desired_rows(4)
            .desired_width(f32::INFINITY);
        if ui.add(edit).labelled_by(label.id).changed() {
            self.tag = None;
        }
        let asked = self.buttons(ui, progress);
        ui.checkbox(&mut self.chat, "chat template")
            .on_hover_text("without it the model continues the raw text");
        ui.add_enabled_ui(progress.has_router, |ui| {
            let checkbox = ui.checkbox(&mut self.routed, "let the router decide");
            checkbox.on_disabled_hover_text("start with `--router DIR`");
        });
        ui.checkbox(&mut self.traced, "time every dispatch")
            .on_hover_text("with GPU timestamps; slows the run down");
        ui.horizontal(|ui| {
            let label = ui.label("Tokens at most");
            ui.add(DragValue::new(&mut self.max_tokens).range(1..=4096))
                .labelled_by(label.id);
        });
        ui.collapsing("Sampling", |ui| self.sampling(ui));
        asked
    }

    fn examples(&mut self, ui: &mut Ui) {
        ui.horizontal_wrapped(|ui| {
            ui.label("Try");
            for (name, tag, prompt) in EXAMPLES {
                if ui.button(name).clicked() {
                    self.prompt = prompt.to_owned();
                    self.tag = Some(tag.to_owned());
                }
            }
        });
    }

    fn buttons(&self, ui: &mut Ui, progress: &Progress) -> Option<Asked> {
        let mut asked = None;
        ui.horizontal(|ui| {
            let ready = progress.ready && !progress.busy;
            let run = egui::Button::new(RichText::new("Run").strong());
            let run = ui
                .add_enabled(ready, run)
                .on_hover_text("Ctrl+Enter")
                .on_disabled_hover_text("no model is ready");
            if run.clicked() || (ready && shortcut(ui, Key::Enter)) {
                asked = Some(Asked::Run(self.prompt(), self.options()));
            }
            let stop = ui.add_enabled(progress.busy, egui::Button::new("Stop"));
            if stop.clicked() {
                asked = Some(Asked::Stop);
            }
        });
        asked
    }

    fn sampling(&mut self, ui: &mut Ui) {
        egui::Grid::new("sampling").num_columns(2).show(ui, |ui| {
            let Sampling {
                temperature,
                top_k,
                top_p,
                min_p,
                seed,
            } = &mut self.sampling;
            let share = |value| DragValue::new(value).range(0.0..=1.0).speed(0.01);
            for (name, value) in [
                (
                    "Temperature",
                    DragValue::new(temperature).range(0.0..=2.0).speed(0.01),
                ),
                ("Top k (0: all)", DragValue::new(top_k)),
                ("Top p", share(top_p)),
                ("Min p", share(min_p)),
                ("Seed", DragValue::new(seed)),
            ] {
                let label = ui.label(name);
                ui.add(value).labelled_by(label.id);
                ui.end_row();
            }
        });
    }
}
