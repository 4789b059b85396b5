//! What skipping saves: the time per token of routed runs beside that of the full model.

use super::super::runs::traced;
use super::super::{View, millis, tpot_text};
use super::{Routed, saved};
use crate::figure::{Figure, area};
use crate::job::threshold_text;
use crate::session::Session;
use crate::stats::{Difference, difference, mean};
use eframe::egui::pos2;
use first_wgpu::trace::Run;
use std::collections::HashMap;

/// Rows of the table of times, the latest; the exported table has all.
const MOST_ROWS: usize = 30;

/// A column: its name, its right edge.
const COLUMNS: [(&str, f32); 6] = [
    ("run", 40.0),
    ("threshold", 120.0),
    ("skipped, counted", 250.0),
    ("TPOT, measured", 380.0),
    ("against full, ± 95 % of these runs", 600.0),
    ("against full, by bytes", 750.0),
];

/// Untraced runs of the full model, by their prompts: there may be thousands.
pub(super) struct FullRuns<'a>(HashMap<&'a [u32], Vec<&'a Run>>);

impl<'a> FullRuns<'a> {
    pub(super) fn of(session: &'a Session) -> Self {
        let mut by_prompt: HashMap<&[u32], Vec<&Run>> = HashMap::new();
        let full = |run: &&Run| run.mask.is_full() && !traced(run);
        for run in session.runs.iter().filter(full) {
            by_prompt.entry(&run.prompt_ids).or_default().push(run);
        }
        Self(by_prompt)
    }

    /// What the tokens took of those of the same prompt by the same model on the same GPU, in milliseconds. What a token costs
    /// depends on how many are before it.
    fn base(&self, of: &Run) -> Vec<f64> {
        let runs = self.0.get(of.prompt_ids.as_slice()).into_iter().flatten();
        let same = runs.filter(|run| run.model == of.model && run.gpu == of.gpu);
        same.flat_map(|run| tokens(run)).collect()
    }

    /// How much longer a token of an untraced run takes than theirs, as a share of that.
    pub(super) fn change(&self, run: &Run) -> Option<Difference> {
        let (base, own) = (self.base(run), tokens(run).collect::<Vec<_>>());
        let known = !traced(run) && !base.is_empty() && !own.is_empty();
        known.then(|| difference(&base, &own).scaled(1.0 / mean(&base)))
    }
}

fn tokens(run: &Run) -> impl Iterator<Item = f64> {
    run.token_nanos.iter().map(|nanos| millis(*nanos))
}

/// Time per token of the routed runs beside the full runs, from `top` on.
pub(super) fn draw(figure: &mut Figure, view: &View<'_>, runs: &[Routed<'_>], top: f32) {
    let palette = &view.palette;
    let full = FullRuns::of(view.session);
    let runs = runs.iter();
    let runs = runs.filter_map(|routed| Some((routed, full.change(routed.run)?)));
    let mut runs: Vec<(&Routed<'_>, Difference)> = runs.collect();
    if runs.is_empty() {
        let text = "Run a prompt with the router and without, on the same GPU and without timing dispatches, to see \
                    what skipping saves.";
        return figure.text(pos2(8.0, top), palette.muted, text);
    }
    let more = runs.len().saturating_sub(MOST_ROWS);
    runs.drain(..more);
    for (name, x) in COLUMNS {
        figure.text_right(pos2(x, top), palette.muted, name);
    }
    if more > 0 {
        let text = format!("the last {MOST_ROWS} of {}", MOST_ROWS + more);
        figure.text(pos2(770.0, top), palette.muted, text);
    }
    for (row, (routed, change)) in runs.into_iter().enumerate() {
        let y = top + 22.0 + 18.0 * row as f32;
        let cells = [
            (routed.index + 1).to_string(),
            threshold_text(routed.threshold),
            format!("{:.1} %", 100.0 * routed.skipped),
            tpot_text(routed.run),
            change.scaled(100.0).text(1, " %"),
            format!("{:+.1} %", 0.0 - 100.0 * saved(routed.run, routed.skipped)),
        ];
        let named = COLUMNS.iter().zip(&cells);
        let said: Vec<String> = named
            .map(|((name, _), cell)| format!("{name} {cell}"))
            .collect();
        figure.row(area(8.0, y - 9.0, 742.0, 18.0), said.join("; "));
        for ((_, x), cell) in COLUMNS.into_iter().zip(cells) {
            figure.text_right(pos2(x, y), palette.text, cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use first_wgpu::mask::LayerMask;
    use first_wgpu::trace::Detail;

    #[test]
    fn a_run_is_compared_with_the_same_prompt_and_model_on_the_same_gpu() {
        let mut session = Session::demo();
        let routed = session.runs[0].clone();
        session.runs = vec![routed.clone()];
        let base = |session: &Session, run: &Run| FullRuns::of(session).base(run);
        assert!(base(&session, &routed).is_empty());
        let mut full = |nanos, change: fn(&mut Run)| {
            let mut run = routed.clone();
            run.mask = LayerMask::full(run.model.layers);
            run.token_nanos = vec![nanos];
            change(&mut run);
            session.runs.push(run);
        };
        full(1_000_000, |run| run.model.name = "another".to_owned());
        full(2_000_000, |run| run.gpu.name = "another".to_owned());
        full(3_000_000, |run| run.token_nanos.clear());
        full(5_000_000, |run| run.prompt_ids.push(0));
        full(4_000_000, |_| ());
        assert_eq!(base(&session, &routed), [4.0]);
        // Three quarters of the time; two tokens alike have no spread.
        session.runs.last_mut().expect("full").token_nanos = vec![4_000_000; 2];
        let mut own = routed.clone();
        own.detail = Detail::None;
        own.dispatches.clear();
        own.token_nanos = vec![3_000_000; 2];
        let change = |run: &Run| FullRuns::of(&session).change(run);
        assert_eq!(
            change(&own).map(|change| (change.mean, change.half)),
            Some((-0.25, 0.0))
        );
        own.detail = Detail::Layer;
        assert_eq!(change(&own), None);
        session.runs.pop();
        assert!(base(&session, &routed).is_empty());
    }
}
