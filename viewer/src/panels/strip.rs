//! The layers of one run as cells of two halves.

use super::{LEFT, View, index, millis, score, sublayers};
use crate::figure::{Figure, Table, area};
use crate::palette::heat;
use eframe::egui::pos2;
use first_wgpu::mask::{LayerMask, Sublayer};
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

fn tip(view: &View<'_>, layer: usize, sublayer: Sublayer) -> String {
    let run = view.run();
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
    match view.forces.get(index(layer, sublayer)) {
        Some(Force::On) => lines.push("forced on".to_owned()),
        Some(Force::Off) => lines.push("forced off".to_owned()),
        _ => {}
    }
    lines.join("\n")
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let (run, palette) = (view.run(), &view.palette);
    let layers = run.mask.layers();
    let step = (view.width - LEFT - 8.0) / layers.max(1) as f32;
    let mut figure = Figure::default();
    let rows = [
        ("attention", 24.0, palette.accent),
        ("MLP", 56.0, palette.second),
    ];
    for (name, y, _) in rows {
        figure.text_right(pos2(LEFT - 10.0, y + 14.0), palette.muted, name);
    }
    for (layer, sublayer) in sublayers(&run.mask) {
        let (_, y, color) = rows[usize::from(sublayer == Sublayer::Mlp)];
        let rect = area(LEFT + layer as f32 * step, y, step - 2.0, 28.0);
        let runs = forced(&run.mask, view.forces).runs(layer, sublayer);
        let fill = if runs { color } else { palette.skipped };
        let id = index(layer, sublayer);
        figure.cell(rect, fill, tip(view, layer, sublayer), Some(id));
        if view
            .forces
            .get(id)
            .is_some_and(|force| *force != Force::Policy)
        {
            let mark = area(rect.min.x, rect.max.y - 4.0, rect.width(), 4.0);
            figure.cell(mark, palette.warning, String::new(), None);
        }
        if let Some(score) = score(run, layer, sublayer) {
            let y = if sublayer == Sublayer::Attn {
                100.0
            } else {
                122.0
            };
            let rect = area(LEFT + layer as f32 * step, y, step - 2.0, 18.0);
            figure.cell(rect, heat(score.score), tip(view, layer, sublayer), None);
        }
    }
    // Thinned where cells are narrow; the last layer always keeps its number.
    let every = (22.0 / step).ceil().max(1.0) as usize;
    for layer in 0..layers {
        let last = layer + 1 == layers;
        if last || (layer.is_multiple_of(every) && layer + every < layers) {
            let x = LEFT + layer as f32 * step + 1.0;
            figure.text(pos2(x, 12.0), palette.muted, layer.to_string());
        }
    }
    if !run.scores.is_empty() {
        figure.text_right(pos2(LEFT - 10.0, 109.0), palette.muted, "attention score");
        figure.text_right(pos2(LEFT - 10.0, 131.0), palette.muted, "MLP score");
    }
    let skipped = 100.0 * run.model.skip_rate(&run.mask);
    let text = format!(
        "{}: {} attentions and {} MLPs skipped, {skipped:.1} % of the layers' weights",
        run.policy,
        run.mask.skipped(Sublayer::Attn),
        run.mask.skipped(Sublayer::Mlp)
    );
    figure.text(pos2(LEFT, 160.0), palette.text, text);
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let run = view.run();
    let mut table = Table::new(&[
        "layer",
        "sublayer",
        "runs",
        "score",
        "threshold",
        "weight_bytes",
        "ms_per_token",
        "dispatches",
    ]);
    for (layer, sublayer) in sublayers(&run.mask) {
        let score = score(run, layer, sublayer);
        let number = |value: Option<f32>| value.map_or(String::new(), |value| value.to_string());
        let (bytes, millis, dispatches) = cost(run, layer, sublayer);
        table.rows.push(vec![
            layer.to_string(),
            sublayer.name().to_owned(),
            run.mask.runs(layer, sublayer).to_string(),
            number(score.map(|score| score.score)),
            number(score.map(|score| score.threshold)),
            bytes.to_string(),
            millis.map_or(String::new(), |millis| format!("{millis:.4}")),
            dispatches.to_string(),
        ]);
    }
    table
}
