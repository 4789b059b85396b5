//! How much each layer matters to a model on given data, and a fixed mask from a greedy search.
//!
//! The mask is the same for every prompt: this is *not* input-adaptive. It is the control that a router has
//! to beat, and what there is to use until one is trained.

use crate::data::Tokens;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::mask::{LayerMask, Sublayer};
use crate::trace::ModelSummary;
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

/// Mean cross-entropy of the answers' tokens under a mask, in nats: first over the tokens of an answer,
/// then over the answers.
pub fn loss(engine: &Engine, examples: &[Tokens], mask: &LayerMask) -> Result<f64> {
    let mut sum = 0.0;
    for example in examples {
        let losses = engine.losses(&example.ids, example.answer, mask)?;
        sum += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64;
    }
    Ok(sum / examples.len() as f64)
}

/// Measures [`loss`] of some examples, and counts how often.
pub struct Meter<'a, 'p> {
    engine: &'a Engine,
    examples: &'a [Tokens],
    done: u64,
    total: u64,
    progress: &'a mut Progress<'p>,
}

impl<'a, 'p> Meter<'a, 'p> {
    /// A meter that is asked about `total` times.
    pub fn new(
        engine: &'a Engine,
        examples: &'a [Tokens],
        total: usize,
        progress: &'a mut Progress<'p>,
    ) -> Self {
        Self {
            engine,
            examples,
            done: 0,
            total: total as u64,
            progress,
        }
    }

    /// The loss under a mask.
    pub fn loss(&mut self, mask: &LayerMask) -> Result<f64> {
        let loss = loss(self.engine, self.examples, mask)?;
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
            let cost = (loss - before) / (rate(&next) - rate(mask));
            if best.as_ref().is_none_or(|(.., least)| cost < *least) {
                best = Some((index, next, loss, cost));
            }
        }
        let Some((index, next, loss, _)) = best else {
            break;
        };
        if loss > base + budget.loss {
            break;
        }
        left.remove(index);
        path.push((next, loss));
    }
    Ok(path)
}
