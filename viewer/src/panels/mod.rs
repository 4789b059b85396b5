//! The panels: each a pure function from runs to a figure, and to a table of the same data.

mod compare;
mod masks;
mod strip;
mod timings;
mod tokens;

use crate::figure::{Figure, Table};
use crate::palette::Palette;
use first_wgpu::mask::{LayerMask, Sublayer};
use first_wgpu::trace::{Run, Score};

pub use strip::{Force, forced};

/// What a panel looks at.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// All runs, at least one.
    pub runs: &'a [Run],
    /// The run in question.
    pub selected: usize,
    /// What it is compared with.
    pub other: usize,
    /// Sublayers that the user has forced on or off, two a layer.
    pub forces: &'a [Force],
    /// The width to fill, in points.
    pub width: f32,
    /// The colours.
    pub palette: Palette,
}

impl<'a> View<'a> {
    fn run(&self) -> &'a Run {
        &self.runs[self.selected]
    }
}

/// A panel.
pub struct Panel {
    /// For the command line: `masks`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// Draws it.
    pub figure: fn(&View<'_>) -> Figure,
    /// Its data.
    pub table: fn(&View<'_>) -> Table,
}

/// Every panel, in the order of the tabs.
pub const PANELS: [Panel; 5] = [
    Panel {
        name: "layers",
        title: "Layers",
        about: "Which sublayers ran. Click one to force it on or off, then run again.",
        figure: strip::figure,
        table: strip::table,
    },
    Panel {
        name: "masks",
        title: "Prompts × layers",
        about: "The mask of every run, and how often each sublayer was skipped. Click a run to open it.",
        figure: masks::figure,
        table: masks::table,
    },
    Panel {
        name: "tokens",
        title: "Tokens × layers",
        about: "Each router's score of each prompt token, before the mean decides.",
        figure: tokens::figure,
        table: tokens::table,
    },
    Panel {
        name: "timings",
        title: "Timings",
        about: "What each dispatch of a decoded token cost by the GPU's clock, and each kernel in sum.",
        figure: timings::figure,
        table: timings::table,
    },
    Panel {
        name: "compare",
        title: "Compare",
        about: "Two runs side by side: masks, answers, times, memory.",
        figure: compare::figure,
        table: compare::table,
    },
];

/// Room for the names of rows.
const LEFT: f32 = 130.0;

/// The index of a sublayer: attention of layer 0, its MLP, attention of layer 1, ...
fn index(layer: usize, sublayer: Sublayer) -> usize {
    2 * layer + usize::from(sublayer == Sublayer::Mlp)
}

/// The score that decided a sublayer.
fn score(run: &Run, layer: usize, sublayer: Sublayer) -> Option<&Score> {
    run.scores.iter().find(|score| {
        let own = score.sublayer.map(Sublayer::from);
        score.layer == layer && own.is_none_or(|own| own == sublayer)
    })
}

/// All sublayers of a mask.
fn sublayers(mask: &LayerMask) -> impl Iterator<Item = (usize, Sublayer)> {
    (0..mask.layers()).flat_map(|layer| Sublayer::BOTH.map(|sublayer| (layer, sublayer)))
}

/// The start of a text that fits a row.
fn short(text: &str, most: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() > most {
        true => line.chars().take(most - 1).chain(['…']).collect(),
        false => line,
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
