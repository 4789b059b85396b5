//! What skipping saves: the time per token of routed runs beside that of the full model.

use super::super::runs::traced;
use super::super::{View, millis};
use super::{Routed, saved, time};
use crate::figure::Figure;
use crate::session::Session;
use crate::stats::{quantile, sorted};
use eframe::egui::pos2;
use first_wgpu::trace::Run;
use std::collections::HashMap;

/// Rows of the table of times, the latest; the exported table has all.
const MOST_ROWS: usize = 30;

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

    /// The median time per token of those of the same prompt by the same model on the same GPU, in milliseconds. What a token
    /// costs depends on how many are before it.
    fn base(&self, of: &Run) -> Option<f64> {
        let runs = self.0.get(of.prompt_ids.as_slice())?.iter();
        let same = runs.filter(|run| run.model == of.model && run.adapter == of.adapter);
        let times = sorted(same.filter_map(|run| run.tpot_nanos()).map(millis));
        (!times.is_empty()).then(|| quantile(&times, 0.5))
    }

    /// The share of their time per token that an untraced run saves.
    pub(super) fn less(&self, run: &Run) -> Option<f64> {
        let tpot = run.tpot_nanos().filter(|_| !traced(run))?;
        Some(1.0 - millis(tpot) / self.base(run)?)
    }
}

/// Time per token of the routed runs beside the full runs, from `top` on.
pub(super) fn draw(figure: &mut Figure, view: &View<'_>, runs: &[Routed<'_>], top: f32) {
    let palette = &view.palette;
    let full = FullRuns::of(view.session);
    let runs = runs.iter();
    let runs = runs.filter_map(|routed| Some((routed, full.less(routed.run)?)));
    let mut runs: Vec<(&Routed<'_>, f64)> = runs.collect();
    if runs.is_empty() {
        let text = "Run a prompt with the router and without, both untraced and on the same GPU, to see what skipping \
                    saves.";
        return figure.text(pos2(8.0, top), palette.muted, text);
    }
    let more = runs.len().saturating_sub(MOST_ROWS);
    runs.drain(..more);
    for (name, x) in [
        ("run", 40.0),
        ("threshold", 120.0),
        ("skipped, measured", 250.0),
        ("TPOT, measured", 380.0),
        ("against full, measured", 530.0),
        ("against full, by bytes", 680.0),
    ] {
        figure.text_right(pos2(x, top), palette.muted, name);
    }
    if more > 0 {
        let text = format!("the last {MOST_ROWS} of {}", MOST_ROWS + more);
        figure.text(pos2(700.0, top), palette.muted, text);
    }
    for (row, (routed, less)) in runs.into_iter().enumerate() {
        let y = top + 22.0 + 18.0 * row as f32;
        let cells = [
            (40.0, (routed.index + 1).to_string()),
            (120.0, format!("{:.2}", routed.threshold)),
            (250.0, format!("{:.1} %", 100.0 * routed.skipped)),
            (380.0, time(routed.run.tpot_nanos())),
            (530.0, format!("{:+.1} %", 0.0 - 100.0 * less)),
            (
                680.0,
                format!("{:+.1} %", 0.0 - 100.0 * saved(routed.run, routed.skipped)),
            ),
        ];
        for (x, cell) in cells {
            figure.text_right(pos2(x, y), palette.text, cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use first_wgpu::mask::LayerMask;

    #[test]
    fn a_run_is_compared_with_the_same_prompt_and_model_on_the_same_gpu() {
        let mut session = Session::demo();
        let routed = session.runs[0].clone();
        session.runs = vec![routed.clone()];
        let base = |session: &Session, run: &Run| FullRuns::of(session).base(run);
        assert_eq!(base(&session, &routed), None);
        let mut full = |nanos, change: fn(&mut Run)| {
            let mut run = routed.clone();
            run.mask = LayerMask::full(run.model.layers);
            run.token_nanos = vec![nanos];
            change(&mut run);
            session.runs.push(run);
        };
        full(1_000_000, |run| run.model.name = "another".to_owned());
        full(2_000_000, |run| run.adapter.name = "another".to_owned());
        full(3_000_000, |run| run.token_nanos.clear());
        full(5_000_000, |run| run.prompt_ids.push(0));
        full(4_000_000, |_| ());
        assert_eq!(base(&session, &routed), Some(4.0));
        session.runs.pop();
        assert_eq!(base(&session, &routed), None);
    }
}
