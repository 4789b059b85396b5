//! The layers of one run as cells of two halves.

use super::{
    Action, LEFT, NO_RUN, Toolbar, View, engine_button, has_time, index, legend, millis, numbers,
    one_threshold, policy_name, score, shade, short, sublayers,
};
use crate::figure::{Figure, Heard, Table, Value, area};
use crate::job::Choice;
use crate::palette::{heat, ink_on};
use crate::session::Session;
use eframe::egui::{self, Ui, pos2};
use first_wgpu::mask::{LayerMask, Masking, Sublayer};
use first_wgpu::trace::{Dispatch, Run};
use std::collections::{BTreeMap, BTreeSet};

/// The sublayers that the user has switched, two a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Those that do what the policy did not want.
    pub switched: BTreeSet<usize>,
    /// All that were clicked, in turn.
    clicks: Vec<usize>,
}

impl State {
    /// Switches a sublayer, or back.
    fn switch(&mut self, sublayer: usize) {
        if !self.switched.remove(&sublayer) {
            self.switched.insert(sublayer);
        }
    }
}

/// A mask with what the user has switched.
pub fn forced(mask: &LayerMask, switched: &BTreeSet<usize>) -> LayerMask {
    let mut result = mask.clone();
    for (layer, sublayer) in sublayers(mask) {
        if switched.contains(&index(layer, sublayer)) {
            result.set(layer, sublayer, !mask.runs(layer, sublayer));
        }
    }
    result
}

pub(super) fn toolbar(ui: &mut Ui, to: &mut Toolbar<'_>) -> Option<Action> {
    let run = to.session.runs.get(to.state.selected)?;
    let state = &mut to.state.strip;
    let mut action = None;
    ui.horizontal_wrapped(|ui| {
        let again = "Run this prompt again with this mask";
        if engine_button(ui, to.ready, again).clicked() {
            let mask = forced(&run.mask, &state.switched);
            action = Some(Action::Again(Choice::Mask(Masking::new(mask, run.prefill))));
        }
        let undo = ui.add_enabled(!state.clicks.is_empty(), egui::Button::new("Undo"));
        if undo.clicked()
            && let Some(last) = state.clicks.pop()
        {
            state.switch(last);
        }
        ui.weak(format!("{} forced", state.switched.len()));
    });
    action
}

pub(super) fn heard(_: &Session, state: &mut super::State, heard: Heard) -> Option<Action> {
    let sublayer = heard.clicked?;
    state.strip.clicks.push(sublayer);
    state.strip.switch(sublayer);
    None
}

/// What the user wants of a sublayer: that it runs, or that it does not; nothing where the policy decides.
fn force(view: &View<'_>, run: &Run, layer: usize, sublayer: Sublayer) -> Option<&'static str> {
    let switched = view.state.strip.switched.contains(&index(layer, sublayer));
    let force = if run.mask.runs(layer, sublayer) {
        "off"
    } else {
        "on"
    };
    switched.then_some(force)
}

/// What a sublayer cost over the decoded tokens in which it ran.
#[derive(Clone, Copy, Default)]
struct Cost {
    dispatches: usize,
    tokens: usize,
    nanos: u64,
    /// Those of the tokens of which each dispatch has a time.
    timed: usize,
}

/// What each sublayer cost, in the order of their indices.
fn costs(run: &Run) -> Vec<Cost> {
    let mut costs = vec![Cost::default(); 2 * run.mask.layers()];
    let tokens = run.dispatches.chunk_by(|a, b| a.token == b.token);
    for token in tokens.filter(|token| token[0].token > 0) {
        let mut sums: BTreeMap<usize, (Cost, bool)> = BTreeMap::new();
        for dispatch in token {
            let Some(sublayer) = sublayer(dispatch) else {
                continue;
            };
            let (cost, known) = sums.entry(sublayer).or_insert((Cost::default(), true));
            cost.dispatches += 1;
            cost.nanos += dispatch.duration_nanos;
            *known &= has_time(run, dispatch);
        }
        for (sublayer, (own, known)) in sums {
            let cost = &mut costs[sublayer];
            cost.tokens += 1;
            cost.dispatches += own.dispatches;
            if known {
                cost.nanos += own.nanos;
                cost.timed += 1;
            }
        }
    }
    costs
}

/// The index of the sublayer that a dispatch is of.
fn sublayer(dispatch: &Dispatch) -> Option<usize> {
    let (_, inside) = dispatch.label.split_once('.')?;
    let (name, _) = inside.split_once('.')?;
    let part = Sublayer::BOTH
        .into_iter()
        .find(|part| part.name() == name)?;
    Some(index(dispatch.layer?, part))
}

impl Cost {
    /// Milliseconds a token; none where nothing was timed.
    fn millis(&self) -> Option<f64> {
        (self.timed > 0).then(|| millis(self.nanos) / self.timed as f64)
    }

    fn dispatches_per_token(&self) -> usize {
        self.dispatches.checked_div(self.tokens).unwrap_or(0)
    }
}

fn weight_bytes(run: &Run, layer: usize, sublayer: Sublayer) -> u64 {
    match sublayer {
        Sublayer::Attn => run.model.attn_bytes[layer],
        Sublayer::Mlp => run.model.mlp_bytes[layer],
    }
}

/// A cell as wide as this has room for its score.
const SCORE_ROOM: f32 = 24.0;

/// A score without the zero before its point; cut off, not rounded, so that what is below a threshold of hundredths looks so.
fn hundredths(score: f32) -> String {
    match (100.0 * score).floor() {
        cut if (0.0..100.0).contains(&cut) => format!(".{cut:02}"),
        _ => format!("{score:.0}"),
    }
}

fn tip(run: &Run, cost: &Cost, force: Option<&str>, layer: usize, sublayer: Sublayer) -> String {
    let runs = run.mask.runs(layer, sublayer);
    let mut lines = vec![format!(
        "L{layer:02} {}: {}",
        sublayer.name(),
        if runs { "runs" } else { "skipped" }
    )];
    if let Some(score) = score(run, layer, sublayer) {
        lines.push(format!(
            "score {:.3}, threshold {:.3}, margin {:+.3}",
            score.score,
            score.threshold,
            score.score - score.threshold
        ));
    }
    let bytes = weight_bytes(run, layer, sublayer) as f64;
    lines.push(format!("{:.2} MB of weights", bytes / 1e6));
    if let Some(millis) = cost.millis() {
        let dispatches = cost.dispatches_per_token();
        lines.push(format!(
            "{millis:.3} ms and {dispatches} dispatches a token, measured"
        ));
    }
    lines.extend(force.map(|force| format!("forced {force}")));
    lines.join("\n")
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let Some(run) = view.run() else {
        return Figure::note(palette, NO_RUN);
    };
    let layers = run.mask.layers();
    let mask = forced(&run.mask, &view.state.strip.switched);
    let step = ((view.width - LEFT - 8.0) / layers as f32).max(4.0);
    let mut figure = Figure::default();
    numbers(&mut figure, palette, layers, LEFT, step, 10.0);
    for (name, y) in [("attention", 38.0), ("MLP", 70.0)] {
        figure.text_right(pos2(LEFT - 10.0, y), palette.muted, name);
    }
    let costs = costs(run);
    for (layer, sublayer) in sublayers(&run.mask) {
        let half = usize::from(sublayer == Sublayer::Mlp);
        let x = LEFT + layer as f32 * step;
        let id = index(layer, sublayer);
        let force = force(view, run, layer, sublayer);
        let tip = tip(run, &costs[id], force, layer, sublayer);
        let rect = area(x, 24.0 + 32.0 * half as f32, step - 2.0, 28.0);
        let fill = shade(palette, sublayer, mask.runs(layer, sublayer));
        figure.cell(rect, fill, tip.clone(), Some(id));
        if force.is_some() {
            let mark = area(rect.min.x, rect.max.y - 4.0, rect.width(), 4.0);
            figure.cell(mark, palette.warning, tip.clone(), Some(id));
        }
        if let Some(score) = score(run, layer, sublayer) {
            let rect = area(x, 100.0 + 22.0 * half as f32, step - 2.0, 18.0);
            let fill = heat(score.score);
            figure.cell(rect, fill, tip, None);
            if step >= SCORE_ROOM {
                figure.text_middle(rect.center(), ink_on(fill), hundredths(score.score));
            }
        }
    }
    if !run.scores.is_empty() {
        figure.text_right(pos2(LEFT - 10.0, 109.0), palette.muted, "attention score");
        figure.text_right(pos2(LEFT - 10.0, 131.0), palette.muted, "MLP score");
        legend::scores(&mut figure, palette, pos2(LEFT, 158.0), one_threshold(run));
    }
    let names = legend::sublayers(palette);
    let names = names.into_iter().chain([(palette.warning, "forced")]);
    // Beside the scale of scores.
    let left = if run.scores.is_empty() {
        LEFT
    } else {
        LEFT + 340.0
    };
    legend::named(&mut figure, palette, pos2(left, 158.0), names);
    let skipped = 100.0 * run.model.skip_rate(&mask);
    let policy = if mask == run.mask {
        short(policy_name(run), 60)
    } else {
        "As it is forced, not run yet".to_owned()
    };
    let text = format!(
        "{policy}: {} attentions and {} MLPs skipped, {skipped:.1} % of the layers' weights",
        mask.skipped(Sublayer::Attn),
        mask.skipped(Sublayer::Mlp)
    );
    figure.summary(pos2(LEFT, 188.0), palette.text, text);
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "layer",
        "sublayer",
        "runs",
        "forced",
        "score",
        "threshold",
        "weight_bytes",
        "ms_per_token",
        "dispatches",
    ]);
    let Some(run) = view.run() else { return table };
    let costs = costs(run);
    for (layer, sublayer) in sublayers(&run.mask) {
        let score = score(run, layer, sublayer);
        let cost = costs[index(layer, sublayer)];
        table.rows.push(vec![
            layer.into(),
            sublayer.name().into(),
            run.mask.runs(layer, sublayer).to_string().into(),
            force(view, run, layer, sublayer).unwrap_or_default().into(),
            score.map(|score| score.score).into(),
            score.map(|score| score.threshold).into(),
            weight_bytes(run, layer, sublayer).into(),
            cost.millis().map(|millis| Value::rounded(millis, 4)).into(),
            cost.dispatches_per_token().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests;
