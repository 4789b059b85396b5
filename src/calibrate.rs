//! How much each layer matters to a model on given data, and a fixed mask from a greedy search.
//!
//! The mask is the same for every prompt: this is *not* input-adaptive. It is the control that a router has
//! to beat, and what there is to use until one is trained.

use crate::data::Tokens;
use crate::engine::Engine;
use crate::engine::inspect::{Against, FullWay};
use crate::error::{Error, Result};
use crate::mask::{LayerMask, Sublayer};
use crate::trace::ModelSummary;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// What may be skipped on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The layer.
    pub layer: usize,
    /// One of its sublayers, or both.
    pub sublayer: Option<Sublayer>,
}

impl Unit {
    /// All units of a model, whole layers or sublayers.
    pub fn all(layers: usize, sublayers: bool) -> Vec<Self> {
        let kinds: &[Option<Sublayer>] = if sublayers {
            &[Some(Sublayer::Attn), Some(Sublayer::Mlp)]
        } else {
            &[None]
        };
        (0..layers)
            .flat_map(|layer| {
                kinds.iter().map(move |sublayer| Self {
                    layer,
                    sublayer: *sublayer,
                })
            })
            .collect()
    }

    /// The mask with this unit skipped too.
    pub fn skipped_from(self, mask: &LayerMask) -> LayerMask {
        let mut mask = mask.clone();
        for sublayer in Sublayer::BOTH {
            if self.sublayer.is_none_or(|own| own == sublayer) {
                mask.set(self.layer, sublayer, false);
            }
        }
        mask
    }
}

/// How much a unit matters.
#[derive(Clone, Copy, Debug)]
pub struct Influence {
    /// The unit.
    pub unit: Unit,
    /// Mean loss when it alone is skipped, less the full model's, in nats per token.
    pub loss_change: f64,
}

/// Hears of work done, of how much, and may stop it.
pub type Progress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// Bytes of streams that a meter keeps, at most, but for the last of each example.
const KEPT_BYTES: usize = 256 << 20;

/// Measures the mean loss of some examples' answers under masks, in nats: first over the tokens of an answer, then over
/// the answers. Each mask is measured once, and how often is counted.
///
/// Against what the full model says, a few examples tell masks apart: the loss then rises by the divergence from it, which
/// is never below 0, while a mask may happen to like the words of a few answers.
pub struct LossMeter<'a, 'p> {
    engine: &'a Engine,
    /// Each example through the full model, and the first token of its answer.
    ways: Vec<(FullWay, usize)>,
    against: Against,
    done: u64,
    total: u64,
    progress: &'a mut Progress<'p>,
    known: HashMap<String, f64>,
}

impl<'a, 'p> LossMeter<'a, 'p> {
    /// A meter that is asked about `total` times.
    pub fn new(
        engine: &'a Engine,
        examples: &'a [Tokens],
        against: Against,
        total: usize,
        progress: &'a mut Progress<'p>,
    ) -> Result<Self> {
        let config = &engine.model.config;
        let tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
        let all = 4 * tokens * config.hidden * config.layers;
        let spacing = all.div_ceil(KEPT_BYTES).max(3);
        let way = |example: &Tokens| Ok((engine.full_way(&example.ids, spacing)?, example.answer));
        Ok(Self {
            engine,
            ways: examples.iter().map(way).collect::<Result<_>>()?,
            against,
            done: 0,
            total: total as u64,
            progress,
            known: HashMap::new(),
        })
    }

    /// The loss under a mask.
    pub fn loss(&mut self, mask: &LayerMask) -> Result<f64> {
        let name = mask.to_string();
        if let Some(loss) = self.known.get(&name) {
            return Ok(*loss);
        }
        let mut sum = 0.0;
        for (way, answer) in &self.ways {
            let losses = self
                .engine
                .losses_beside(way, self.against, *answer, mask)?;
            sum += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64;
        }
        let loss = sum / self.ways.len() as f64;
        self.known.insert(name, loss);
        self.done += 1;
        match (self.progress)(self.done.min(self.total), self.total) {
            ControlFlow::Break(()) => Err(Error::Cancelled),
            ControlFlow::Continue(()) => Ok(loss),
        }
    }
}

/// What measures a mask's loss.
pub type Measure<'a> = dyn FnMut(&LayerMask) -> Result<f64> + 'a;

/// The loss of the full model of so many layers, and the influence of each unit.
pub fn influences(
    layers: usize,
    units: &[Unit],
    measure: &mut Measure<'_>,
) -> Result<(f64, Vec<Influence>)> {
    let full = LayerMask::full(layers);
    let base = measure(&full)?;
    let influence = |unit: &Unit| {
        Ok(Influence {
            unit: *unit,
            loss_change: measure(&unit.skipped_from(&full))? - base,
        })
    };
    let influences = units.iter().map(influence).collect::<Result<_>>()?;
    Ok((base, influences))
}

/// Block influence of each layer (arXiv 2403.03853): 1 - the mean over tokens of the cosine between what
/// enters the layer and what leaves it.
pub fn block_influence(engine: &Engine, examples: &[Tokens]) -> Result<Vec<f64>> {
    let (layers, hidden) = (engine.model.config.layers, engine.model.config.hidden);
    let (mut sums, mut tokens) = (vec![0.0; layers], 0);
    for example in examples {
        let mut before: Vec<f32> = Vec::new();
        engine.hidden_states(&example.ids, &LayerMask::full(layers), &mut |index, x| {
            if (1..=layers).contains(&index) {
                let rows = before.chunks_exact(hidden).zip(x.chunks_exact(hidden));
                sums[index - 1] += rows.map(|(a, b)| 1.0 - cosine(a, b)).sum::<f64>();
            }
            before = x.to_vec();
            Ok(())
        })?;
        tokens += example.ids.len();
    }
    Ok(sums.into_iter().map(|sum| sum / tokens as f64).collect())
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The most units to skip.
    pub units: usize,
    /// The share of the layers' weight bytes to skip, met as nearly as the smallest unit allows.
    pub rate: f64,
    /// The most that the loss may rise, in nats.
    pub loss: f64,
    /// How many of the units that are left, those that cost least alone, each step tries.
    pub candidates: usize,
}

/// Skips units one after another, each time the one that costs the least loss per byte on top of those before, until
/// the budget is spent. `base` is the loss of the full model. Returns the masks on the way and their losses, the full
/// model first.
pub fn greedy(
    summary: &ModelSummary,
    (base, influences): (f64, &[Influence]),
    budget: Budget,
    measure: &mut Measure<'_>,
) -> Result<Vec<(LayerMask, f64)>> {
    let full = LayerMask::full(summary.layers);
    let rate = |mask: &LayerMask| summary.skip_rate(mask);
    let alone = |influence: &Influence| rate(&influence.unit.skipped_from(&full));
    let cost = |influence: &Influence| influence.loss_change / alone(influence);
    let mut left = influences.to_vec();
    left.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    let smallest = left.iter().map(alone).fold(1.0, f64::min);
    let mut path = vec![(full.clone(), base)];
    while path.len() <= budget.units {
        let (mask, before) = &path[path.len() - 1];
        let most = budget.rate - rate(mask) + 0.5 * smallest;
        let mut best: Option<(usize, LayerMask, f64, f64)> = None;
        let fitting = left
            .iter()
            .enumerate()
            .filter(|(_, unit)| alone(unit) <= most);
        for (index, influence) in fitting.take(budget.candidates) {
            let next = influence.unit.skipped_from(mask);
            let loss = measure(&next)?;
            if loss.is_nan() || loss > base + budget.loss {
                continue;
            }
            let cost = (loss - before) / (rate(&next) - rate(mask));
            if best.as_ref().is_none_or(|(.., least)| cost < *least) {
                best = Some((index, next, loss, cost));
            }
        }
        let Some((index, next, loss, _)) = best else {
            break;
        };
        left.remove(index);
        path.push((next, loss));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss that adds up: an attention costs 1 + its layer, an MLP 2 + its layer; all in tenths.
    fn measure(mask: &LayerMask) -> Result<f64> {
        let cost = |layer: usize, sublayer| {
            let one = if sublayer == Sublayer::Attn { 1 } else { 2 };
            if mask.runs(layer, sublayer) {
                0
            } else {
                one + layer
            }
        };
        let costs = (0..4).flat_map(|layer| Sublayer::BOTH.map(|sublayer| cost(layer, sublayer)));
        Ok(2.0 + 0.1 * costs.sum::<usize>() as f64)
    }

    fn path(budget: Budget) -> Vec<String> {
        let units = Unit::all(4, true);
        let (base, influences) = influences(4, &units, &mut measure).expect("measures");
        assert_eq!(base, 2.0);
        let path = greedy(
            &ModelSummary::alike(4),
            (base, &influences),
            budget,
            &mut measure,
        )
        .expect("searches");
        for (mask, loss) in &path {
            assert_eq!(*loss, measure(mask).expect("measures"));
        }
        path.into_iter().map(|(mask, _)| mask.to_string()).collect()
    }

    const FAR: Budget = Budget {
        units: 8,
        rate: 1.0,
        loss: f64::INFINITY,
        candidates: 8,
    };

    #[test]
    fn a_search_takes_the_least_loss_per_byte() {
        // Per 1000 bytes: attentions 1, 2, 3, 4; MLPs 2/3, 1, 4/3, 5/3. Ties go to the earlier.
        let three = path(Budget { units: 4, ..FAR });
        assert_eq!(three[0], LayerMask::full(4).to_string());
        assert_eq!(three[1..3], ["0.mlp", "0"]);
        assert_eq!(three.len(), 5);
        assert_eq!(path(FAR).len(), 9);
    }

    #[test]
    fn a_search_keeps_to_the_rate_and_the_loss() {
        // 0.2 of 16000 bytes are 3200: an MLP, and no attention on top, which would be off by more than without it.
        assert_eq!(path(Budget { rate: 0.2, ..FAR })[1..], ["0.mlp"]);
        // The best per byte costs 0.2: too much, but the first attention fits.
        assert_eq!(path(Budget { loss: 0.15, ..FAR })[1..], ["0.attn"]);
    }
}
