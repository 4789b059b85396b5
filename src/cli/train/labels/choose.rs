//! How far `first train labels` searches, and which of the masks that it finds it takes.

use super::{Labels, Masks};
use crate::calibrate::meter::Against;
use crate::calibrate::{Budget, Unit, share_out};
use crate::cli::train::skipping;
use crate::data::task_name;
use crate::engine::Engine;
use crate::mask::LayerMask;
use crate::train::run::Tasks;

/// How many times what all tasks skip on the mean one of them may skip that was searched for: what is known of its loss
/// are a few answers of a model that was not trained with the mask.
const MOST_SPREAD: f64 = 1.5;

impl Labels {
    /// How far to search.
    pub(super) fn budget(&self, engine: &Engine, units: &[Unit]) -> anyhow::Result<Budget> {
        let mut budget = Budget {
            units: self.budget,
            rate: 1.0,
            loss: self.tolerate.into(),
            candidates: self.candidates,
        };
        if !self.settle.is_empty() {
            return Ok(budget);
        }
        if self.rates.is_empty() {
            anyhow::ensure!(
                self.budget < units.len(),
                "{} of {} cannot be skipped; lower `--budget`, or protect less",
                self.budget,
                units.len()
            );
            return Ok(budget);
        }
        let full = LayerMask::full(engine.model.config.layers);
        let skip = |mask: LayerMask, unit: &Unit| unit.skipped_from(&mask);
        let nothing = units.iter().fold(full.clone(), skip);
        let most = engine.summary.skip_rate(&nothing);
        for rate in self.rates.iter().map(|rate| f64::from(*rate)) {
            anyhow::ensure!(
                rate > 0.0 && rate < most,
                "{:.1} % cannot be skipped, all that may be is {:.1} % of the layers' weights; lower `--rates`, or choose other `--units`",
                100.0 * rate,
                100.0 * most
            );
        }
        let highest = self.rates.iter().copied().fold(0.0, f32::max);
        budget.rate = most.min(MOST_SPREAD * f64::from(highest));
        let share = |unit: &Unit| engine.summary.skip_rate(&unit.skipped_from(&full));
        let smallest = units.iter().map(share).fold(1.0, f64::min);
        budget.units = units.len().min((budget.rate / smallest).ceil() as usize);
        Ok(budget)
    }

    /// The mask of each task's path that is used: the last, or those that together skip a rate.
    pub(super) fn chosen<'a>(
        &self,
        engine: &Engine,
        tasks: &'a Tasks,
        paths: &[Vec<(LayerMask, f64)>],
        rate: Option<&f32>,
    ) -> anyhow::Result<Masks<'a>> {
        let at = match rate {
            Some(rate) => {
                let rate = f64::from(*rate);
                let most = if self.settle.is_empty() {
                    MOST_SPREAD * rate
                } else {
                    1.0
                };
                share_out(&engine.summary, paths, rate, most)
            }
            None => paths.iter().map(|path| path.len() - 1).collect(),
        };
        let mut masks = Masks::new();
        let mut skipped = 0.0;
        for ((task, path), at) in tasks.keys().zip(paths).zip(at) {
            let (base, (mask, loss)) = (path[0].1, &path[at]);
            let share = engine.summary.skip_rate(mask);
            if self.settle.len() != 1 {
                let cost = match (self.against, self.settle.is_empty()) {
                    (Against::Model, true) => {
                        format!("{:.3} nats a token from the full model", loss - base)
                    }
                    _ => format!("loss {base:.3} -> {loss:.3}"),
                };
                say!("{}: {}, {cost}", task_name(task), skipping(mask, share));
            }
            skipped += share / paths.len() as f64;
            masks.insert(task, mask.clone());
        }
        let remedy = match self.settle.as_slice() {
            [] => "raise `--budget`, `--rates` or `--tolerate`",
            [_] => "settle on a run that skips something for most prompts of a task",
            _ => "raise `--rates`",
        };
        anyhow::ensure!(skipped > 0.0, "no task skips anything; {remedy}");
        if let (Some(rate), false) = (rate, self.settle.is_empty()) {
            // A step of the runs is as large as their rates are apart.
            let mean = |last: bool| {
                let share = |path: &Vec<(LayerMask, f64)>| {
                    let end = if last { path.last() } else { path.first() };
                    end.map_or(0.0, |(mask, _)| engine.summary.skip_rate(mask))
                };
                paths.iter().map(share).sum::<f64>() / paths.len() as f64
            };
            // A rate is an f32: 20 % is a little more.
            const SLACK: f64 = 1e-6;
            let (least, most) = (mean(false), mean(true));
            anyhow::ensure!(
                least <= f64::from(*rate) + SLACK,
                "the masks worth taking skip {:.1} % at least, since what skips less loses more; raise `--rates`, or add a run that skips less and loses less",
                100.0 * least
            );
            anyhow::ensure!(
                most >= f64::from(*rate) - SLACK,
                "these runs skip {:.1} % at most; lower `--rates`, or settle on runs that skip more",
                100.0 * most
            );
        }
        say!("all tasks: {:.1} % of the layers' weights", 100.0 * skipped);
        Ok(masks)
    }
}
