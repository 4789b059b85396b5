//! The window: what to run on the left, what came of it on the right.

mod files;
mod frames;
mod leave;
mod list;
mod news;
mod texts;

use crate::figure::Figure;
use crate::form::{Asked, Form};
use crate::job::Job;
use crate::palette::{self, Palette};
use crate::panels::{Action, Memory, PANELS, State, Toolbar, View};
use crate::prompts::{self, Prompt};
use crate::session::{Kind, Session};
use crate::training::{Follower, Log};
use crate::worker::{Progress, Setup, Worker};
use eframe::egui::{self, Rect, RichText, ScrollArea, Ui};
use files::Files;
use first_wgpu::Error;
use frames::Frames;
use leave::{Leave, Question, Saved};
use news::LoadedRouter;
use std::path::Path;
use std::time::{Duration, Instant};
use texts::{TIMES, doing, live, times};

/// Everything the window remembers.
pub struct App {
    session: Session,
    /// Counts the sessions that were looked at: what a job finds belongs to the one it was asked for.
    generation: u64,
    /// The one that what runs was asked for.
    asked: u64,
    /// Counts the changes of the session.
    revision: u64,
    worker: Option<Worker>,
    progress: Progress,
    form: Form,
    prompts: Vec<Prompt>,
    state: State,
    /// The run that the list of runs has shown last.
    listed: usize,
    panel: usize,
    files: Files,
    message: Option<Message>,
    drawn: Option<Drawn>,
    memory: Memory,
    follower: Option<Follower>,
    /// The router, once one is loaded.
    router: Option<LoadedRouter>,
    frames: Option<Frames>,
    saved: Saved,
    /// What was asked for while something is not saved.
    leaving: Option<Leave>,
    /// What was asked for that would lose something else.
    asking: Option<Question>,
}

/// What the user is told of an action.
struct Message {
    text: String,
    /// Whether something went wrong.
    bad: bool,
}

impl Message {
    /// What went wrong.
    fn bad(error: &Error) -> Self {
        let text = error.to_string();
        Self { text, bad: true }
    }
}

/// What a figure depends on: it is drawn anew only when this changes.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    panel: usize,
    revision: u64,
    state: State,
    width: f32,
    visible: Rect,
    dark: bool,
}

/// The figure of the open panel.
struct Drawn {
    key: Key,
    figure: Figure,
    when: Instant,
}

impl Drawn {
    /// Whether it shows what `key` asks for; while the session grows, it may for a moment be what it was.
    fn shows(&self, key: &Key, grows: bool) -> bool {
        let grown = Key {
            revision: key.revision,
            ..self.key.clone()
        };
        self.key == *key || (grows && grown == *key && self.when.elapsed() < FOLLOW)
    }
}

/// Figures are drawn for more than is visible, so that a little scrolling needs no new one.
const AHEAD: f32 = 400.0;

/// The height of the answer.
const ANSWER: f32 = 72.0;

/// How often a training log is looked at, and a growing session drawn anew.
const FOLLOW: Duration = Duration::from_millis(500);

impl App {
    /// A window on a session, with an engine behind it if there is a setup.
    pub fn new(context: &egui::Context, session: Session, setup: Option<Setup>) -> Self {
        palette::style(context);
        let mut app = Self {
            session: Session::default(),
            generation: 0,
            asked: 0,
            revision: 0,
            worker: setup.map(|setup| Worker::start(setup, context.clone())),
            progress: Progress::default(),
            form: Form::default(),
            prompts: prompts::examples(),
            state: State::default(),
            listed: 0,
            panel: 0,
            files: Files::default(),
            message: None,
            drawn: None,
            memory: Memory::default(),
            follower: None,
            router: None,
            frames: None,
            saved: Saved::default(),
            leaving: None,
            asking: None,
        };
        app.look_at(session);
        app
    }

    /// Runs the prompt as soon as a model is ready, prints how long frames took meanwhile, and closes the
    /// window.
    pub fn measure_frames(&mut self) {
        self.form.max_tokens = 4096;
        self.frames = Some(Frames::default());
    }

    /// Opens a panel by its name.
    pub fn open_panel(&mut self, name: &str) {
        let found = PANELS.iter().position(|panel| panel.name == name);
        self.panel = found.unwrap_or(self.panel);
    }

    /// Looks at a run, and compares it with another; both are places in the session.
    pub fn select(&mut self, run: usize, other: usize) {
        self.state.select(run);
        self.state.other = other;
    }

    /// Tells what file the session was read from, which *Save* may replace; a training log is followed while it grows.
    pub fn came_from(&mut self, path: &Path, kind: Kind) {
        match kind {
            Kind::Session => self.files.is_of(path),
            Kind::Trace => {}
            Kind::Log => {
                self.state.training.path = path.display().to_string();
                self.follower = Some(Follower::new(path));
            }
        }
    }

    /// Loses the GPU, as a driver that resets does; for tests.
    #[doc(hidden)]
    pub fn lose_gpu(&mut self) {
        self.send(Job::LoseGpu);
    }

    /// What is looked at.
    pub fn session(&self) -> &Session {
        &self.session
    }

    fn look_at(&mut self, session: Session) {
        // What runs was asked for the session before.
        if self.progress.busy {
            self.stop();
        }
        // So was what went wrong.
        if let Some(worker) = &self.worker {
            worker.forget_error();
        }
        self.session = session;
        self.mark_saved();
        if let Some(router) = self.router.clone() {
            router.lend(&mut self.session);
        }
        self.follower = None;
        self.drawn = None;
        let last = self.session.runs.len().saturating_sub(1);
        self.state.look_at(last, self.session.other_run(last));
        self.generation += 1;
        self.revision += 1;
    }

    /// Takes what was added to a training log.
    fn follow(&mut self, context: &egui::Context) {
        let Some(follower) = &mut self.follower else {
            return;
        };
        context.request_repaint_after(FOLLOW);
        // Frames may come much more often.
        if follower.rests(FOLLOW) {
            return;
        }
        let mut log = self.session.training.take().unwrap_or_default();
        let followed = follower.follow(&mut log);
        if log != Log::default() {
            self.session.training = Some(log);
        }
        match followed {
            Ok(true) => self.revision += 1,
            Ok(false) => {}
            Err(error) => {
                self.message = Some(Message::bad(&error));
                self.follower = None;
            }
        }
    }

    /// Follows another log, once it was read: one that cannot be read leaves the curves that are there.
    fn follow_anew(&mut self, path: &Path) {
        let (mut follower, mut log) = (Follower::new(path), Log::default());
        if let Err(error) = follower.follow(&mut log) {
            self.message = Some(Message::bad(&error));
            return;
        }
        self.message = None;
        let before = self.session.training.take();
        let lost = before.is_some_and(|before| !log.goes_on_from(&before));
        self.saved.behind |= lost;
        // Nothing of it may be written yet.
        self.session.training = Some(log).filter(|log| *log != Log::default());
        self.follower = Some(follower);
        self.revision += 1;
    }

    fn send(&mut self, job: Job) {
        self.message = None;
        self.asked = self.generation;
        if let Some(worker) = &self.worker {
            worker.send(self.generation, job);
        }
    }

    fn stop(&self) {
        if let Some(worker) = &self.worker {
            worker.stop();
        }
    }

    fn act(&mut self, action: Action) {
        let selected = self.session.runs.get(self.state.selected);
        match action {
            Action::Open(run) => self.state.select(run),
            Action::Again(choice) => {
                let options = self.form.options_with(choice);
                let job = match selected {
                    Some(run) => Job::Again(Box::new(run.clone()), options),
                    None => Job::Prompts(vec![self.form.prompt()], options),
                };
                self.send(job);
            }
            Action::Load(path) => match prompts::load(&path) {
                Ok(prompts) => {
                    self.message = None;
                    self.prompts = prompts;
                }
                Err(error) => self.message = Some(Message::bad(&error)),
            },
            Action::RunSet => {
                self.send(Job::Prompts(self.prompts.clone(), self.form.options()));
            }
            Action::Controls => {
                self.send(Job::Controls(self.prompts.clone(), self.form.options()));
            }
            Action::Agreement => {
                if let Some(run) = selected {
                    let job = Job::Agreement(self.state.selected, Box::new(run.clone()));
                    self.send(job);
                }
            }
            Action::Follow(path) => self.follow_anew(&path),
            Action::ForgetTimes => self.asking = Some(Question::ForgetTimes),
        }
    }

    /// The left side: prompt, options, files, runs.
    fn left(&mut self, ui: &mut Ui) {
        ui.heading("first-wgpu");
        match self.form.ui(ui, &self.progress) {
            Some(Asked::Run(prompt, options)) => self.send(Job::Prompts(vec![prompt], options)),
            Some(Asked::Stop) => self.stop(),
            None => {}
        }
        ui.separator();
        self.files(ui);
        ui.separator();
        self.runs(ui);
    }

    /// What is happening now, or the run that is selected: what, the answer, its times. As high in any case,
    /// so that nothing below it jumps.
    fn now(&mut self, ui: &mut Ui) {
        let palette = Palette::from_ui(ui);
        if let Some(error) = &self.progress.error {
            ui.colored_label(palette.warning, error);
        }
        if let Some(message) = &self.message {
            let color = if message.bad {
                palette.warning
            } else {
                palette.muted
            };
            ui.colored_label(color, &message.text);
        }
        let progress = &self.progress;
        let run = self.session.runs.get(self.state.selected);
        let (what, answer, times) = match (progress.doing.is_empty(), run) {
            (false, _) => (doing(progress), progress.answer.as_str(), live(progress)),
            (true, Some(run)) => (run.prompt.clone(), run.answer.as_str(), times(run)),
            (true, None) => {
                let hint = "Press Run, open a session, or look at the demo.";
                (hint.to_owned(), "", String::new())
            }
        };
        ui.add(egui::Label::new(RichText::new(what).strong()).truncate());
        ScrollArea::vertical()
            .id_salt("answer")
            .max_height(ANSWER)
            .min_scrolled_height(ANSWER)
            .auto_shrink([false, false])
            .stick_to_bottom(!progress.doing.is_empty())
            .show(ui, |ui| ui.label(answer));
        ui.label(RichText::new(times).small().color(palette.muted))
            .on_hover_text(TIMES);
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
        let last = self.session.runs.len().saturating_sub(1);
        self.state.selected = self.state.selected.min(last);
        self.state.other = self.state.other.min(last);
        let mut toolbar = Toolbar {
            session: &self.session,
            state: &mut self.state,
            ready: self.progress.ready && !self.progress.busy,
            has_router: self.progress.has_router,
            prompts: self.prompts.len(),
        };
        if let Some(action) = (panel.toolbar)(ui, &mut toolbar) {
            self.act(action);
        }
        let area = ScrollArea::both()
            .id_salt(panel.name)
            .auto_shrink([false, false]);
        area.show_viewport(ui, |ui, viewport| self.figure(ui, viewport));
    }

    /// The figure of the open panel, drawn anew where something changed.
    fn figure(&mut self, ui: &mut Ui, viewport: Rect) {
        let panel = &PANELS[self.panel];
        let palette = Palette::from_ui(ui);
        let snap = |value: f32| (value / AHEAD).round() * AHEAD;
        let key = Key {
            panel: self.panel,
            revision: self.revision,
            state: self.state.clone(),
            width: ui.available_width().floor(),
            visible: Rect::from_min_max(
                egui::pos2(snap(viewport.min.x), snap(viewport.min.y)),
                egui::pos2(snap(viewport.max.x), snap(viewport.max.y)),
            )
            .expand(AHEAD),
            dark: palette.dark,
        };
        let grows = self.progress.busy;
        let drawn = self.drawn.as_ref();
        if !drawn.is_some_and(|drawn| drawn.shows(&key, grows)) {
            let view = View {
                session: &self.session,
                state: &self.state,
                width: key.width,
                visible: key.visible,
                palette,
                memory: Some(self.memory.of(self.revision)),
            };
            self.drawn = Some(Drawn {
                figure: (panel.figure)(&view),
                key: key.clone(),
                when: Instant::now(),
            });
        }
        let Some(Drawn {
            key: shown, figure, ..
        }) = &self.drawn
        else {
            return;
        };
        if *shown != key {
            ui.ctx().request_repaint_after(FOLLOW);
        }
        let mut heard = figure.show(ui, panel.title);
        heard.width = key.width;
        let action = (panel.heard)(&self.session, &mut self.state, heard);
        if let Some(action) = action {
            self.act(action);
        }
    }

    /// The whole window.
    pub fn show(&mut self, ui: &mut Ui) {
        self.hear_drop(ui.ctx());
        self.take_news();
        self.follow(ui.ctx());
        self.measure(ui.ctx());
        self.hear_close(ui.ctx());
        let frame = egui::Frame::central_panel(ui.style()).inner_margin(14.0);
        let frame = frame.fill(egui::Color32::TRANSPARENT);
        egui::Panel::left("controls")
            .frame(frame)
            .default_size(300.0)
            .show(ui, |ui| self.left(ui));
        egui::CentralPanel::default().frame(frame).show(ui, |ui| {
            self.now(ui);
            ui.separator();
            self.panel(ui);
        });
        self.ask(ui.ctx());
        self.ask_whether(ui.ctx());
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.show(ui);
    }

    /// Panels leave the background to it: clearing costs nothing, where filling a window costs a software
    /// adapter most of a frame.
    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }
}
