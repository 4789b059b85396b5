//! Masks that a router has to beat, each of which skips as many of the layers' weight bytes as it does.
//!
//! A router's masks differ from prompt to prompt; these are the same for all prompts, or for all of a task, so
//! they meet its mean rate only as nearly as whole sublayers allow.

use crate::calibrate::meter::Measure;
use crate::calibrate::{self, Unit, influences};
use crate::error::Result;
use crate::mask::{LayerMask, Sublayer};
use crate::router::Granularity;
use crate::router::policy;
use crate::trace::ModelSummary;

/// How the masks of a control are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Control {
    /// Drawn at random, several times.
    Random,
    /// Evenly spaced (arXiv 2404.06954).
    Even,
    /// What turns the residual stream least (ShortGPT, arXiv 2403.03853), by sublayer where the router's are.
    BlockInfluence,
    /// What costs the least loss, one after another, the same for every prompt.
    Greedy,
    /// A greedy search for each task by itself: what a router would do that knew the task.
    PerTask,
}

impl Control {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Even => "even",
            Self::BlockInfluence => "block-influence",
            Self::Greedy => "greedy",
            Self::PerTask => "per-task",
        }
    }

    /// Whether it is searched on answers.
    pub fn needs_answers(self) -> bool {
        matches!(self, Self::BlockInfluence | Self::Greedy | Self::PerTask)
    }
}

/// How much a control skips.
#[derive(Clone, Copy, Debug)]
pub struct Quota<'a> {
    /// The model.
    pub summary: &'a ModelSummary,
    /// Whole layers, or sublayers.
    pub granularity: Granularity,
    /// Share of the layers' weight bytes.
    pub rate: f64,
    /// Attentions and MLPs.
    pub counts: [usize; 2],
}

/// Units that each step of a search tries: beyond these none has found anything better, and each costs a pass over the
/// answers.
pub const CANDIDATES: usize = 6;

impl<'a> Quota<'a> {
    /// A quota of what these masks skip on average, each with its weight, in attentions and MLPs about as they do.
    pub fn of(
        summary: &'a ModelSummary,
        granularity: Granularity,
        masks: &[(LayerMask, f64)],
    ) -> Self {
        let weights: f64 = masks.iter().map(|(_, weight)| weight).sum();
        let mean = |value: &dyn Fn(&LayerMask) -> f64| {
            let weighted = masks.iter().map(|(mask, weight)| weight * value(mask));
            weighted.sum::<f64>() / weights.max(f64::MIN_POSITIVE)
        };
        let rate = mean(&|mask| summary.skip_rate(mask));
        let means = Sublayer::BOTH.map(|kind| mean(&|mask| mask.skipped(kind) as f64));
        let sum = |bytes: &[u64]| bytes.iter().sum::<u64>() as f64;
        let sums = [sum(&summary.attn_bytes), sum(&summary.mlp_bytes)];
        let one = sums.map(|bytes| bytes / (sums[0] + sums[1]) / summary.layers as f64);
        // The ends stay, as in the controls of `router::policy`.
        let most = summary.layers.saturating_sub(2);
        let near = |mean: f64| {
            let low = (mean.floor() as usize).saturating_sub(1).min(most);
            low..=(low + 3).min(most)
        };
        let mut best = ([0, 0], f64::INFINITY);
        for attns in near(means[0]) {
            for mlps in near(means[1]) {
                if granularity == Granularity::Layer && attns != mlps {
                    continue;
                }
                let counts = [attns, mlps];
                let apart = |kind: usize| (counts[kind] as f64 - means[kind]).abs();
                let off = (attns as f64 * one[0] + mlps as f64 * one[1] - rate).abs();
                // Bytes first; among equals, what is most like the masks.
                let off = off + 1e-4 * (apart(0) + apart(1));
                if off < best.1 {
                    best = (counts, off);
                }
            }
        }
        Self {
            summary,
            granularity,
            rate,
            counts: best.0,
        }
    }

    /// Evenly spaced attentions and MLPs.
    pub fn even(&self) -> Result<LayerMask> {
        let layers = self.summary.layers;
        let [attns, mlps] = self.counts;
        Ok(joined(
            &policy::even(layers, attns)?,
            &policy::even(layers, mlps)?,
        ))
    }

    /// Attentions and MLPs drawn at random; together where layers are skipped whole.
    pub fn random(&self, seed: u64) -> Result<LayerMask> {
        let layers = self.summary.layers;
        let [attns, mlps] = self.counts;
        let other = match self.granularity {
            Granularity::Layer => seed,
            Granularity::Sublayer => !seed,
        };
        let attn = policy::random(layers, attns, seed)?;
        Ok(joined(&attn, &policy::random(layers, mlps, other)?))
    }

    /// The attentions and MLPs of least influence, `[layer][attn, mlp]`.
    pub fn least_influential(&self, influence: &[[f64; 2]]) -> LayerMask {
        let mut mask = LayerMask::full(self.summary.layers);
        for kind in Sublayer::BOTH {
            let of = |layer: &usize| match self.granularity {
                Granularity::Layer => influence[*layer][0] + influence[*layer][1],
                Granularity::Sublayer => influence[*layer][kind as usize],
            };
            let mut order: Vec<usize> = (0..self.summary.layers).collect();
            order.sort_by(|a, b| of(a).total_cmp(&of(b)));
            for layer in &order[..self.counts[kind as usize]] {
                mask.set(*layer, kind, false);
            }
        }
        mask
    }

    /// Skips one unit after another, each time the one that costs the least loss per byte on top of those
    /// before, until the rate is met as nearly as the smallest unit allows.
    pub fn greedy(&self, measure: &mut dyn Measure) -> Result<LayerMask> {
        let layers = self.summary.layers;
        let units = Unit::all(layers, self.granularity == Granularity::Sublayer);
        let (base, influences) = influences(layers, &units, measure)?;
        let budget = calibrate::Budget {
            units: units.len(),
            rate: self.rate,
            loss: f64::INFINITY,
            candidates: CANDIDATES,
        };
        let mut path = calibrate::greedy(self.summary, (base, &influences), budget, measure)?;
        Ok(path.pop().expect("the full model at least").0)
    }
}

/// The attentions of one mask and the MLPs of another.
fn joined(attns: &LayerMask, mlps: &LayerMask) -> LayerMask {
    let mut mask = attns.clone();
    for layer in 0..mask.layers() {
        mask.set(layer, Sublayer::Mlp, mlps.runs(layer, Sublayer::Mlp));
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(texts: &[&str]) -> Vec<(LayerMask, f64)> {
        let parse = |text: &&str| (LayerMask::parse(text, 12).expect("valid"), 1.0);
        texts.iter().map(parse).collect()
    }

    #[test]
    fn masks_count_by_their_weights() {
        let summary = ModelSummary::alike(12);
        // Three answers of a task that skips nothing, and one of a task that skips four layers.
        let mut masks = masks(&["", "", "", "3-6"]);
        masks[3].1 = 3.0;
        let quota = Quota::of(&summary, Granularity::Layer, &masks);
        assert_eq!(quota.counts, [2, 2]);
    }

    /// Every control is within half an attention of the routed rate, whatever the router mixes.
    #[test]
    fn controls_skip_as_many_bytes() {
        let summary = ModelSummary::alike(12);
        for texts in [
            &["3.attn,5.attn", "3.attn,5.attn"][..],
            &["3.attn,5.attn,7.mlp", "2.attn", "9.mlp"],
            &["1-8.attn,9-10.mlp", "1-8.attn"],
            &["", "4"],
        ] {
            let quota = Quota::of(&summary, Granularity::Sublayer, &masks(texts));
            // A loss that only knows that the middle matters.
            let mut loss = |mask: &LayerMask| {
                let of = |layer: usize| {
                    let weight = 6.0 - (layer as f64 - 5.5).abs();
                    let runs = Sublayer::BOTH.map(|kind| f64::from(!mask.runs(layer, kind)));
                    weight * (runs[0] + 2.0 * runs[1])
                };
                Ok((0..12).map(of).sum())
            };
            let influence: Vec<[f64; 2]> = (0..12)
                .map(|layer| [layer as f64, -(layer as f64)])
                .collect();
            for (name, mask) in [
                ("even", quota.even().expect("fits")),
                ("random", quota.random(1).expect("fits")),
                ("block influence", quota.least_influential(&influence)),
                ("greedy", quota.greedy(&mut loss).expect("searches")),
            ] {
                let off = (summary.skip_rate(&mask) - quota.rate).abs();
                let attention = 1.0 / 48.0;
                assert!(
                    off <= 0.5 * attention + 1e-9,
                    "{name} of {texts:?}: {mask}, off by {off}"
                );
            }
        }
    }

    #[test]
    fn whole_layers_stay_whole() {
        let summary = ModelSummary::alike(12);
        let quota = Quota::of(
            &summary,
            Granularity::Layer,
            &masks(&["3,5", "3,5,7", "4,6"]),
        );
        assert_eq!(quota.counts, [2, 2]);
        let influence: Vec<[f64; 2]> = (0..12)
            .map(|layer| [layer as f64, -2.0 * layer as f64])
            .collect();
        let mut loss = |mask: &LayerMask| Ok(-f64::from(u8::from(!mask.runs(7, Sublayer::Mlp))));
        for mask in [
            quota.even().expect("fits"),
            quota.random(3).expect("fits"),
            quota.least_influential(&influence),
            quota.greedy(&mut loss).expect("searches"),
        ] {
            assert_eq!(mask.skipped_layers(), 2, "{mask}");
            assert_eq!(mask.skipped(Sublayer::Attn), 2, "{mask}");
        }
        let least = quota.least_influential(&influence);
        assert_eq!(least.to_string(), "10-11");
        assert!(
            !quota
                .greedy(&mut loss)
                .expect("searches")
                .runs(7, Sublayer::Mlp)
        );
    }

    #[test]
    fn draws_differ_by_seed_and_by_kind() {
        let summary = ModelSummary::alike(12);
        let quota = Quota::of(&summary, Granularity::Sublayer, &masks(&["1-4"]));
        assert_eq!(quota.counts, [4, 4]);
        let draws: std::collections::HashSet<_> = (0..5)
            .map(|seed| quota.random(seed).expect("fits"))
            .collect();
        assert_eq!(draws.len(), 5);
        assert!(draws.iter().any(|mask| mask.skipped_layers() < 4));
    }
}
