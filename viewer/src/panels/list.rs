//! The panels there are.

use super::{
    Action, State, Toolbar, View, compare, controls, masks, runs, strip, threshold, timings,
    tokens, training,
};
use crate::figure::{Figure, Heard, Table};
use crate::session::Session;
use eframe::egui::Ui;

/// A panel.
pub struct Panel {
    /// For the command line: `masks`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// Whether that is of the selected run.
    pub of_a_run: bool,
    /// Draws it.
    pub figure: fn(&View<'_>) -> Figure,
    /// Its data.
    pub table: fn(&View<'_>) -> Table,
    /// Shows its buttons.
    pub toolbar: fn(&mut Ui, &mut Toolbar<'_>) -> Option<Action>,
    /// Hears what was done to its figure.
    pub heard: fn(&Session, &mut State, Heard) -> Option<Action>,
}

fn no_toolbar(_: &mut Ui, _: &mut Toolbar<'_>) -> Option<Action> {
    None
}

fn deaf(_: &Session, _: &mut State, _: Heard) -> Option<Action> {
    None
}

/// Every panel, in the order of the tabs.
pub const PANELS: [Panel; 9] = [
    Panel {
        name: "layers",
        title: "Layers",
        about: "Which sublayers ran. Click one to switch it, again to switch it back; then run again.",
        of_a_run: true,
        figure: strip::figure,
        table: strip::table,
        toolbar: strip::toolbar,
        heard: strip::heard,
    },
    Panel {
        name: "runs",
        title: "Runs",
        about: "What ran, what it answered, what it cost. Click a run to open it.",
        of_a_run: false,
        figure: runs::figure,
        table: runs::table,
        toolbar: no_toolbar,
        heard: runs::heard,
    },
    Panel {
        name: "masks",
        title: "Prompts × layers",
        about: "The mask of every run, and how often each sublayer was skipped. Click a run to open it.",
        of_a_run: false,
        figure: masks::figure,
        table: masks::table,
        toolbar: masks::toolbar,
        heard: masks::heard,
    },
    Panel {
        name: "tokens",
        title: "Tokens × layers",
        about: "Each router's score of each prompt token, before the mean decides.",
        of_a_run: true,
        figure: tokens::figure,
        table: tokens::table,
        toolbar: no_toolbar,
        heard: deaf,
    },
    Panel {
        name: "timings",
        title: "Timings",
        about: "When each dispatch ran, and what each kernel cost. Click to zoom in on it, drag to pan, Ctrl-scroll or pinch to zoom. Keys: W A S D.",
        of_a_run: true,
        figure: timings::figure,
        table: timings::table,
        toolbar: timings::toolbar,
        heard: timings::heard,
    },
    Panel {
        name: "compare",
        title: "Compare",
        about: "Two runs side by side: answers, masks, times, memory; and this run against the full model.",
        of_a_run: true,
        figure: compare::figure,
        table: compare::table,
        toolbar: compare::toolbar,
        heard: deaf,
    },
    Panel {
        name: "controls",
        title: "Controls",
        about: "Is it the router, or would any mask of that size do? Policies at the same rate, on the prompt set.",
        of_a_run: false,
        figure: controls::figure,
        table: controls::table,
        toolbar: controls::toolbar,
        heard: deaf,
    },
    Panel {
        name: "threshold",
        title: "Threshold",
        about: "What a threshold is predicted to skip, by the router's calibration, beside what runs skipped.",
        of_a_run: false,
        figure: threshold::figure,
        table: threshold::table,
        toolbar: threshold::toolbar,
        heard: deaf,
    },
    Panel {
        name: "training",
        title: "Training",
        about: "The curves of a training log, live while it grows.",
        of_a_run: false,
        figure: training::figure,
        table: training::table,
        toolbar: training::toolbar,
        heard: deaf,
    },
];
