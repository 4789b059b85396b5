//! The window: what to run on the left, what came of it on the right.

use crate::figure::Figure;
use crate::palette::{self, Palette};
use crate::panels::{Force, PANELS, View, forced};
use crate::session::Session;
use crate::worker::{Choice, Job, Progress, Setup, Worker};
use eframe::egui::{self, RichText, ScrollArea, Ui};
use first_wgpu::trace::{Detail, Sampling};
use std::path::PathBuf;
use std::time::Instant;

/// Prompts of different kinds, to begin with.
const EXAMPLES: [(&str, &str); 3] = [
    ("a question", "What is the capital of France?"),
    (
        "a sum",
        "Tom has 3 boxes with 12 pencils each. He gives away 7 pencils. How many are left?",
    ),
    (
        "a translation",
        "Translate into French: The weather is nice and we are going to the beach.",
    ),
];

/// Everything the window remembers.
pub struct App {
    session: Session,
    worker: Option<Worker>,
    progress: Progress,
    prompt: String,
    chat: bool,
    routed: bool,
    traced: bool,
    max_tokens: usize,
    sampling: Sampling,
    selected: usize,
    other: usize,
    panel: usize,
    forces: Vec<Force>,
    undo: Vec<Vec<Force>>,
    path: String,
    message: Option<String>,
    drawn: Option<(Key, Figure)>,
    frames: Option<Frames>,
}

/// How long frames take while an answer streams, drawn as fast as they can be.
#[derive(Default)]
struct Frames {
    asked: bool,
    last: Option<Instant>,
    millis: Vec<f64>,
}

/// What a figure depends on: it is drawn anew only when this changes.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    panel: usize,
    runs: usize,
    selected: usize,
    other: usize,
    forces: Vec<Force>,
    width: f32,
    dark: bool,
}

impl App {
    /// A window on a session, with an engine behind it if there is a setup.
    pub fn new(context: &egui::Context, session: Session, setup: Option<Setup>) -> Self {
        palette::style(context);
        let worker = setup.map(|setup| Worker::start(setup, context.clone()));
        let selected = session.runs.len().saturating_sub(1);
        Self {
            session,
            worker,
            progress: Progress::default(),
            prompt: EXAMPLES[0].1.to_owned(),
            chat: true,
            routed: false,
            traced: false,
            max_tokens: 64,
            sampling: Sampling::default(),
            selected,
            other: 0,
            panel: 0,
            forces: Vec::new(),
            undo: Vec::new(),
            path: "session.json".to_owned(),
            message: None,
            drawn: None,
            frames: None,
        }
    }

    /// Runs the prompt as soon as a model is ready, prints how long frames took meanwhile, and closes the
    /// window.
    pub fn measure_frames(&mut self) {
        self.max_tokens = 4096;
        self.frames = Some(Frames::default());
    }

    fn measure(&mut self, context: &egui::Context) {
        let Some(mut frames) = self.frames.take() else {
            return;
        };
        context.request_repaint();
        let now = Instant::now();
        if self.progress.busy && self.progress.tokens > 0 {
            let before = frames.last.replace(now);
            frames
                .millis
                .extend(before.map(|before| 1e3 * (now - before).as_secs_f64()));
        }
        if !frames.asked && self.progress.ready {
            frames.asked = true;
            self.run(Choice::Full);
        } else if frames.asked && !self.progress.busy {
            let times = crate::stats::sorted(frames.millis.iter().copied());
            let at = |share| crate::stats::quantile(&times, share);
            println!(
                "{} frames while answering: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
                times.len(),
                at(0.5),
                at(0.95),
                at(0.99)
            );
            context.send_viewport_cmd(egui::ViewportCommand::Close);
            return;
        }
        self.frames = Some(frames);
    }

    /// Opens a panel by its name.
    pub fn open_panel(&mut self, name: &str) {
        let found = PANELS.iter().position(|panel| panel.name == name);
        self.panel = found.unwrap_or(self.panel);
    }

    /// What is looked at.
    pub fn session(&self) -> &Session {
        &self.session
    }

    fn take_news(&mut self) {
        let Some(worker) = &self.worker else { return };
        self.progress = worker.progress();
        for run in std::mem::take(&mut self.progress.finished) {
            self.other = self.selected.min(self.session.runs.len());
            self.session.runs.push(run);
            self.select(self.session.runs.len() - 1);
        }
    }

    fn select(&mut self, run: usize) {
        self.selected = run;
        self.forces.clear();
        self.undo.clear();
    }

    fn run(&self, choice: Choice) {
        let Some(worker) = &self.worker else { return };
        worker.send(Job {
            prompt: self.prompt.clone(),
            chat: self.chat,
            choice,
            max_tokens: self.max_tokens,
            sampling: self.sampling.clone(),
            detail: if self.traced {
                Detail::Dispatch
            } else {
                Detail::None
            },
        });
    }

    /// The left side: prompt, options, runs.
    fn controls(&mut self, ui: &mut Ui) {
        ui.heading("first-wgpu");
        ui.horizontal_wrapped(|ui| {
            ui.label("Try");
            for (name, prompt) in EXAMPLES {
                if ui.button(name).clicked() {
                    self.prompt = prompt.to_owned();
                }
            }
        });
        let label = ui.label("Prompt");
        ui.add(
            egui::TextEdit::multiline(&mut self.prompt)
                .desired_rows(4)
                .desired_width(f32::INFINITY),
        )
        .labelled_by(label.id);
        ui.horizontal(|ui| {
            let ready = self.progress.ready && !self.progress.busy;
            let run = egui::Button::new(RichText::new("Run").strong());
            if ui
                .add_enabled(ready, run)
                .on_disabled_hover_text("no model is ready")
                .clicked()
            {
                let choice = if self.routed {
                    Choice::Routed
                } else {
                    Choice::Full
                };
                self.run(choice);
            }
            if ui
                .add_enabled(self.progress.busy, egui::Button::new("Stop"))
                .clicked()
                && let Some(worker) = &self.worker
            {
                worker.stop();
            }
            if self.progress.busy {
                ui.spinner();
            }
        });
        ui.checkbox(&mut self.chat, "chat template");
        ui.add_enabled_ui(self.progress.has_router, |ui| {
            let checkbox = ui.checkbox(&mut self.routed, "let the router decide");
            checkbox.on_disabled_hover_text("start with `--router DIR`");
        });
        ui.checkbox(&mut self.traced, "time every dispatch")
            .on_hover_text("with GPU timestamps; slows the run down");
        egui::Grid::new("options").num_columns(2).show(ui, |ui| {
            let label = ui.label("Tokens at most");
            ui.add(egui::DragValue::new(&mut self.max_tokens).range(1..=4096))
                .labelled_by(label.id);
            ui.end_row();
            let label = ui.label("Temperature");
            let drag = egui::DragValue::new(&mut self.sampling.temperature)
                .range(0.0..=2.0)
                .speed(0.01);
            ui.add(drag).labelled_by(label.id);
            ui.end_row();
            let label = ui.label("Seed");
            ui.add(egui::DragValue::new(&mut self.sampling.seed))
                .labelled_by(label.id);
            ui.end_row();
        });
        ui.separator();
        self.files(ui);
        ui.separator();
        ui.label(RichText::new(format!("Runs ({})", self.session.runs.len())).strong());
        let height = ui.text_style_height(&egui::TextStyle::Body) + 8.0;
        let runs = self.session.runs.len();
        let mut chosen = None;
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show_rows(ui, height, runs, |ui, rows| {
                for index in rows {
                    let run = &self.session.runs[index];
                    let text = format!("{}  {} · {}", index + 1, run.policy, run.prompt);
                    let row =
                        ui.add(egui::Button::selectable(index == self.selected, text).truncate());
                    if row.clicked() {
                        chosen = Some(index);
                    }
                }
            });
        if let Some(index) = chosen {
            self.other = self.selected;
            self.select(index);
        }
    }

    /// Loading and saving.
    fn files(&mut self, ui: &mut Ui) {
        let label = ui.label("Session file");
        ui.add(egui::TextEdit::singleline(&mut self.path).desired_width(f32::INFINITY))
            .labelled_by(label.id);
        ui.horizontal(|ui| {
            if ui.button("Save").clicked() {
                let path = PathBuf::from(&self.path);
                self.message = Some(match self.session.save(&path) {
                    Ok(()) => format!("saved to {}", path.display()),
                    Err(error) => error.to_string(),
                });
            }
            if ui.button("Open").clicked() {
                // What is on screen stays if the file is bad.
                match Session::load(&PathBuf::from(&self.path)) {
                    Ok(session) => {
                        self.select(session.runs.len().saturating_sub(1));
                        self.other = 0;
                        self.session = session;
                        self.drawn = None;
                        self.message = None;
                    }
                    Err(error) => self.message = Some(error.to_string()),
                }
            }
        });
    }

    /// What is happening now: progress, the answer, what went wrong.
    fn now(&mut self, ui: &mut Ui) {
        let palette = Palette::from_ui(ui);
        for message in [&self.progress.error, &self.message].into_iter().flatten() {
            ui.colored_label(palette.warning, message);
        }
        if !self.progress.doing.is_empty() {
            let mut text = self.progress.doing.clone();
            if self.progress.tokens > 1 && self.progress.seconds > 0.0 {
                let rate = (self.progress.tokens - 1) as f32 / self.progress.seconds;
                text += &format!(": {} tokens, {rate:.1} tokens/s", self.progress.tokens);
            }
            ui.label(RichText::new(text).color(palette.muted));
            ui.label(&self.progress.answer);
            return;
        }
        let Some(run) = self.session.runs.get(self.selected) else {
            ui.label("Press Run, or open a session.");
            return;
        };
        ui.label(RichText::new(&run.prompt).strong());
        ScrollArea::vertical()
            .id_salt("answer")
            .max_height(110.0)
            .show(ui, |ui| ui.label(&run.answer));
        let mut line = format!("TTFT {:.0} ms", run.ttft_nanos as f64 / 1e6);
        if let Some(tpot) = run.tpot_nanos() {
            line += &format!(
                " · TPOT {:.1} ms ({:.1} tokens/s)",
                tpot as f64 / 1e6,
                1e9 / tpot as f64
            );
        }
        line += &format!(" · {} · {}", run.model.name, run.adapter.name);
        ui.label(RichText::new(line).small().color(palette.muted));
    }

    /// The panel that is open.
    fn panel(&mut self, ui: &mut Ui) {
        ui.horizontal_wrapped(|ui| {
            for (index, panel) in PANELS.iter().enumerate() {
                ui.selectable_value(&mut self.panel, index, panel.title);
            }
        });
        let panel = &PANELS[self.panel];
        ui.label(RichText::new(panel.about).color(Palette::from_ui(ui).muted));
        if self.session.runs.is_empty() {
            return;
        }
        self.selected = self.selected.min(self.session.runs.len() - 1);
        self.other = self.other.min(self.session.runs.len() - 1);
        if panel.name == "layers" {
            self.masking(ui);
        }
        if panel.name == "compare" {
            self.choose_other(ui);
        }
        let view = View {
            runs: &self.session.runs,
            selected: self.selected,
            other: self.other,
            forces: &self.forces,
            width: ui.available_width().floor(),
            palette: Palette::from_ui(ui),
        };
        let key = Key {
            panel: self.panel,
            runs: self.session.runs.len(),
            selected: self.selected,
            other: self.other,
            forces: self.forces.clone(),
            width: view.width,
            dark: view.palette.dark,
        };
        if self.drawn.as_ref().is_none_or(|(drawn, _)| *drawn != key) {
            self.drawn = Some((key, (panel.figure)(&view)));
        }
        let Some((_, figure)) = &self.drawn else {
            return;
        };
        let clicked = ScrollArea::both()
            .id_salt(panel.name)
            .auto_shrink([false, false]);
        let clicked = clicked.show(ui, |ui| figure.show(ui, panel.title)).inner;
        match clicked {
            Some(sublayer) if panel.name == "layers" => self.cycle(sublayer),
            Some(run) if panel.name == "masks" => {
                self.other = self.selected;
                self.select(run);
            }
            _ => {}
        }
    }

    fn cycle(&mut self, sublayer: usize) {
        let layers = self.session.runs[self.selected].mask.layers();
        self.undo.push(self.forces.clone());
        self.forces.resize(2 * layers, Force::Policy);
        self.forces[sublayer] = self.forces[sublayer].next();
    }

    /// Buttons of the layer strip.
    fn masking(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            let ready = self.progress.ready && !self.progress.busy;
            if ui
                .add_enabled(ready, egui::Button::new("Run with this mask"))
                .clicked()
            {
                let run = &self.session.runs[self.selected];
                let mask = forced(&run.mask, &self.forces);
                self.prompt.clone_from(&run.prompt);
                self.run(Choice::Mask(mask));
            }
            if ui
                .add_enabled(!self.undo.is_empty(), egui::Button::new("Undo"))
                .clicked()
            {
                self.forces = self.undo.pop().unwrap_or_default();
            }
            // For the keyboard: what a click on a cell does.
            let layers = self.session.runs[self.selected].mask.layers();
            egui::ComboBox::from_label("force a sublayer")
                .selected_text("choose")
                .show_ui(ui, |ui| {
                    for sublayer in 0..2 * layers {
                        let part = if sublayer % 2 == 0 { "attn" } else { "mlp" };
                        let force = self.forces.get(sublayer).copied().unwrap_or_default();
                        let state = match force {
                            Force::Policy => "as decided",
                            Force::On => "forced on",
                            Force::Off => "forced off",
                        };
                        if ui
                            .selectable_label(
                                false,
                                format!("L{:02} {part}: {state}", sublayer / 2),
                            )
                            .clicked()
                        {
                            self.cycle(sublayer);
                        }
                    }
                });
        });
    }

    fn choose_other(&mut self, ui: &mut Ui) {
        let name = |index: usize| {
            let run = &self.session.runs[index];
            format!("{} {}", index + 1, run.policy)
        };
        egui::ComboBox::from_label("compare with run")
            .selected_text(name(self.other))
            .show_ui(ui, |ui| {
                for index in 0..self.session.runs.len() {
                    ui.selectable_value(&mut self.other, index, name(index));
                }
            });
    }

    /// The whole window.
    pub fn show(&mut self, ui: &mut Ui) {
        self.take_news();
        self.measure(ui.ctx());
        let frame = egui::Frame::central_panel(ui.style()).inner_margin(14.0);
        egui::Panel::left("controls")
            .frame(frame)
            .default_size(300.0)
            .show(ui, |ui| self.controls(ui));
        egui::CentralPanel::default().frame(frame).show(ui, |ui| {
            self.now(ui);
            ui.separator();
            self.panel(ui);
        });
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.show(ui);
    }
}
