//! The panels: each a pure function from a session to a figure, and to a table of the same data, with a
//! small state of its own and a toolbar that changes it.

mod compare;
mod controls;
mod legend;
mod list;
mod masks;
mod runs;
mod strip;
#[cfg(test)]
mod testing;
mod threshold;
mod timings;
mod tokens;
mod training;
mod widgets;

use crate::figure::Figure;
use crate::job::Choice;
use crate::palette::Palette;
use crate::session::Session;
use crate::width::short;
use eframe::egui::{Rect, pos2};
use first_wgpu::mask::{LayerMask, Sublayer};
use first_wgpu::trace::{Dispatch, Run, Score};
use std::path::PathBuf;
use widgets::{choice, engine_button, key_button, other_run, path_field};

pub use list::{PANELS, Panel};
pub(crate) use runs::{ended, prefill_rate, traced};
pub use strip::forced;
pub use timings::Memory;
pub(crate) use widgets::{file_field, shortcut};

/// What the panels remember between frames.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The run in question.
    pub selected: usize,
    /// What it is compared with.
    pub other: usize,
    /// What the layer strip remembers.
    pub strip: strip::State,
    /// What prompts x layers remembers.
    pub masks: masks::State,
    /// What the timings remember.
    pub timings: timings::State,
    /// What threshold and budget remembers.
    pub threshold: threshold::State,
    /// What the training curves remember.
    pub training: training::State,
}

impl State {
    /// Looks at another run; the one before becomes what it is compared with.
    pub fn select(&mut self, run: usize) {
        if run != self.selected {
            self.look_at(run, self.selected);
        }
    }

    /// Looks at a run as if for the first time, and compares it with another.
    pub fn look_at(&mut self, run: usize, other: usize) {
        (self.selected, self.other) = (run, other);
        self.strip = strip::State::default();
        self.timings.reset();
    }
}

/// What a panel looks at.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What was run and measured.
    pub session: &'a Session,
    /// What the panels remember.
    pub state: &'a State,
    /// The width to fill, in points.
    pub width: f32,
    /// The part of the figure that is looked at; the rest need not be drawn.
    pub visible: Rect,
    /// The colours.
    pub palette: Palette,
    /// What was found before, where that is remembered.
    pub memory: Option<&'a Memory>,
}

impl<'a> View<'a> {
    /// All of a figure, found anew.
    pub fn whole(session: &'a Session, state: &'a State, width: f32, palette: Palette) -> Self {
        Self {
            session,
            state,
            width,
            visible: Rect::EVERYTHING,
            palette,
            memory: None,
        }
    }

    /// All of it as wide as files have it.
    pub fn exported(session: &'a Session, state: &'a State, palette: Palette) -> Self {
        Self::whole(session, state, 1000.0, palette)
    }

    pub(crate) fn run(&self) -> Option<&'a Run> {
        self.session.runs.get(self.state.selected)
    }

    fn other(&self) -> Option<&'a Run> {
        self.session.runs.get(self.state.other)
    }
}

/// What the buttons above a panel's figure work on.
pub struct Toolbar<'a> {
    /// What was run and measured.
    pub session: &'a Session,
    /// What the panels remember.
    pub state: &'a mut State,
    /// Whether the engine would take a job.
    pub ready: bool,
    /// Whether a router is loaded.
    pub has_router: bool,
    /// How many prompts the set has.
    pub prompts: usize,
}

/// What a panel asks of the window.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Look at a run.
    Open(usize),
    /// Run the prompt of the selected run again.
    Again(Choice),
    /// Read a prompt set.
    Load(PathBuf),
    /// Run the prompt set.
    RunSet,
    /// Compare policies at the same rate on the prompt set.
    Controls,
    /// Compare the selected run with the full model.
    Agreement,
    /// Read a training log, and what is added to it.
    Follow(PathBuf),
    /// Drop what was timed of each dispatch of each run.
    ForgetTimes,
}

/// Room for the names of rows.
const LEFT: f32 = 130.0;

const NO_RUN: &str = "No run yet: press Run, or open a session.";

/// The index of a sublayer: attention of layer 0, its MLP, attention of layer 1, ...
fn index(layer: usize, sublayer: Sublayer) -> usize {
    2 * layer + usize::from(sublayer == Sublayer::Mlp)
}

/// The score that decided a sublayer.
fn score(run: &Run, layer: usize, sublayer: Sublayer) -> Option<&Score> {
    run.scores.iter().find(|score| {
        let own = score.sublayer;
        score.layer == layer && own.is_none_or(|own| own == sublayer)
    })
}

/// What people call a policy: `none` would read as if there were no run.
fn policy_word(policy: &str) -> &str {
    match policy {
        "none" => "full model",
        policy => policy,
    }
}

/// The same of the policy of a run.
pub(crate) fn policy_name(run: &Run) -> &str {
    policy_word(&run.policy)
}

/// Whether a dispatch has a time: in a run that lost some timestamps, one without has a duration of 0.
fn has_time(run: &Run, dispatch: &Dispatch) -> bool {
    run.dropped_timestamps == 0 || dispatch.duration_nanos > 0
}

/// The mean time per output token of a run.
fn tpot_text(run: &Run) -> String {
    let tpot = run.tpot_nanos();
    tpot.map_or("-".to_owned(), |nanos| format!("{:.2} ms", millis(nanos)))
}

/// The threshold of a run's routers, if all have the same.
fn one_threshold(run: &Run) -> Option<f32> {
    let threshold = run.scores.first()?.threshold;
    let same = run.scores.iter().all(|score| score.threshold == threshold);
    same.then_some(threshold)
}

/// All sublayers of a mask, in the order of their indices.
fn sublayers(mask: &LayerMask) -> impl Iterator<Item = (usize, Sublayer)> {
    (0..mask.layers()).flat_map(|layer| Sublayer::BOTH.map(|sublayer| (layer, sublayer)))
}

/// The colour of a sublayer that runs, or does not.
fn shade(palette: &Palette, sublayer: Sublayer, runs: bool) -> eframe::egui::Color32 {
    match (runs, sublayer) {
        (false, _) => palette.skipped,
        (true, Sublayer::Attn) => palette.accent,
        (true, Sublayer::Mlp) => palette.second,
    }
}

/// Numbers of layers above their columns, thinned where those are narrow; the last always keeps its own.
fn numbers(figure: &mut Figure, palette: &Palette, layers: usize, left: f32, step: f32, y: f32) {
    let every = (22.0 / step).ceil().max(1.0) as usize;
    for layer in 0..layers {
        let last = layer + 1 == layers;
        if last || (layer.is_multiple_of(every) && layer + every < layers) {
            let x = left + (layer as f32 + 0.5) * step - 1.0;
            figure.text_middle(pos2(x, y), palette.muted, layer.to_string());
        }
    }
}

/// What is said of a number: nothing of one that could not be measured.
fn known(number: f64, text: String) -> String {
    if number.is_finite() {
        text
    } else {
        "-".to_owned()
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
