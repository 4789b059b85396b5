//! The layers of one run as cells of two halves.

use super::{
    Action, LEFT, NO_RUN, Toolbar, View, engine_button, index, legend, millis, numbers,
    one_threshold, score, shade, sublayers,
};
use crate::figure::{Figure, Heard, Table, Value, area};
use crate::job::Choice;
use crate::palette::{heat, ink_on};
use crate::session::Session;
use eframe::egui::{self, Ui, pos2};
use first_wgpu::mask::{LayerMask, Masking, Sublayer};
use first_wgpu::trace::Run;

/// What the user wants of a sublayer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Force {
    /// What the policy decides.
    #[default]
    Policy,
    /// It runs.
    On,
    /// It does not.
    Off,
}

impl Force {
    /// The next on a click.
    pub fn next(self) -> Self {
        match self {
            Self::Policy => Self::Off,
            Self::Off => Self::On,
            Self::On => Self::Policy,
        }
    }
}

/// The sublayers that the user has forced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Two a layer, or none.
    pub forces: Vec<Force>,
    undo: Vec<Vec<Force>>,
}

/// A mask with the user's wishes applied; the length of `forces` is two a layer, or 0.
pub fn forced(mask: &LayerMask, forces: &[Force]) -> LayerMask {
    let mut result = mask.clone();
    for (layer, sublayer) in sublayers(mask) {
        match forces.get(index(layer, sublayer)) {
            Some(Force::On) => result.set(layer, sublayer, true),
            Some(Force::Off) => result.set(layer, sublayer, false),
            _ => {}
        }
    }
    result
}

pub(super) fn toolbar(ui: &mut Ui, to: &mut Toolbar<'_>) -> Option<Action> {
    let run = to.session.runs.get(to.state.selected)?;
    let state = &mut to.state.strip;
    let mut action = None;
    ui.horizontal_wrapped(|ui| {
        if engine_button(ui, to.ready, "Run with this mask") {
            let mask = forced(&run.mask, &state.forces);
            action = Some(Action::Again(Choice::Mask(Masking::new(mask, run.prefill))));
        }
        let undo = egui::Button::new("Undo");
        if ui.add_enabled(!state.undo.is_empty(), undo).clicked() {
            state.forces = state.undo.pop().unwrap_or_default();
        }
        let forced = state.forces.iter().filter(|force| **force != Force::Policy);
        ui.weak(format!("{} forced", forced.count()));
    });
    action
}

pub(super) fn heard(session: &Session, state: &mut super::State, heard: Heard) -> Option<Action> {
    let sublayer = heard.clicked?;
    let layers = session.runs.get(state.selected)?.mask.layers();
    let strip = &mut state.strip;
    strip.undo.push(strip.forces.clone());
    strip.forces.resize(2 * layers, Force::Policy);
    let force = strip.forces.get_mut(sublayer)?;
    *force = force.next();
    None
}

/// Bytes of weights, GPU milliseconds a token, and dispatches a token of a sublayer.
fn cost(run: &Run, layer: usize, sublayer: Sublayer) -> (u64, Option<f64>, usize) {
    let bytes = match sublayer {
        Sublayer::Attn => run.model.attn_bytes[layer],
        Sublayer::Mlp => run.model.mlp_bytes[layer],
    };
    let prefix = format!("L{layer:02}.{}.", sublayer.name());
    let own = run
        .dispatches
        .iter()
        .filter(|dispatch| dispatch.token > 0 && dispatch.label.starts_with(&prefix));
    let (mut nanos, mut count) = (0, 0);
    for dispatch in own {
        nanos += dispatch.duration_nanos;
        count += 1;
    }
    let tokens = run.answer_ids.len().saturating_sub(1);
    match tokens {
        0 => (bytes, None, 0),
        _ if count == 0 => (bytes, None, 0),
        _ => (bytes, Some(millis(nanos) / tokens as f64), count / tokens),
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

fn tip(run: &Run, force: Force, layer: usize, sublayer: Sublayer) -> String {
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
    let (bytes, millis, dispatches) = cost(run, layer, sublayer);
    lines.push(format!("{:.2} MB of weights", bytes as f64 / 1e6));
    if let Some(millis) = millis {
        lines.push(format!(
            "{millis:.3} ms and {dispatches} dispatches a token, measured"
        ));
    }
    match force {
        Force::On => lines.push("forced on".to_owned()),
        Force::Off => lines.push("forced off".to_owned()),
        Force::Policy => {}
    }
    lines.join("\n")
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let Some(run) = view.run() else {
        return Figure::note(palette, NO_RUN);
    };
    let layers = run.mask.layers();
    let forces = &view.state.strip.forces;
    let mask = forced(&run.mask, forces);
    let step = ((view.width - LEFT - 8.0) / layers as f32).max(4.0);
    let mut figure = Figure::default();
    numbers(&mut figure, palette, layers, LEFT, step, 10.0);
    for (name, y) in [("attention", 38.0), ("MLP", 70.0)] {
        figure.text_right(pos2(LEFT - 10.0, y), palette.muted, name);
    }
    for (layer, sublayer) in sublayers(&run.mask) {
        let half = usize::from(sublayer == Sublayer::Mlp);
        let x = LEFT + layer as f32 * step;
        let id = index(layer, sublayer);
        let force = forces.get(id).copied().unwrap_or_default();
        let tip = tip(run, force, layer, sublayer);
        let rect = area(x, 24.0 + 32.0 * half as f32, step - 2.0, 28.0);
        let fill = shade(palette, sublayer, mask.runs(layer, sublayer));
        figure.cell(rect, fill, tip.clone(), Some(id));
        if force != Force::Policy {
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
    let skipped = 100.0 * run.model.skip_rate(&mask);
    let policy = if mask == run.mask {
        run.policy.clone()
    } else {
        "As it is forced, not run yet".to_owned()
    };
    let text = format!(
        "{policy}: {} attentions and {} MLPs skipped, {skipped:.1} % of the layers' weights",
        mask.skipped(Sublayer::Attn),
        mask.skipped(Sublayer::Mlp)
    );
    figure.text(pos2(LEFT, 188.0), palette.text, text);
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
    for (layer, sublayer) in sublayers(&run.mask) {
        let score = score(run, layer, sublayer);
        let (bytes, millis, dispatches) = cost(run, layer, sublayer);
        table.rows.push(vec![
            layer.into(),
            sublayer.name().into(),
            run.mask.runs(layer, sublayer).to_string().into(),
            match view.state.strip.forces.get(index(layer, sublayer)) {
                Some(Force::On) => "on",
                Some(Force::Off) => "off",
                Some(Force::Policy) | None => "",
            }
            .into(),
            score.map(|score| score.score).into(),
            score.map(|score| score.threshold).into(),
            bytes.into(),
            millis.map(|millis| Value::rounded(millis, 4)).into(),
            dispatches.into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_below_the_threshold_looks_so() {
        let said = [0.0, 0.0831, 0.4999, 0.5, 0.9999, 1.0, f32::NAN].map(hundredths);
        assert_eq!(said, [".00", ".08", ".49", ".50", ".99", "1", "NaN"]);
    }
}
