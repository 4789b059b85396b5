//! How much each layer matters to a model on given data, and a fixed mask from a greedy search.
//!
//! The mask is the same for every prompt: this is *not* input-adaptive. It is the control that a router has
//! to beat, and what there is to use until one is trained.

use crate::data::Tokens;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::mask::{LayerMask, Sublayer};

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
pub type Progress<'a> = dyn FnMut(u64, u64) -> std::ops::ControlFlow<()> + 'a;

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

/// The loss of the full model and the influence of each unit.
pub fn influences(
    engine: &Engine,
    examples: &[Tokens],
    units: &[Unit],
    progress: &mut Progress<'_>,
) -> Result<(f64, Vec<Influence>)> {
    let full = LayerMask::full(engine.model.config.layers);
    let base = loss(engine, examples, &full)?;
    let mut influences = Vec::new();
    for (index, unit) in units.iter().enumerate() {
        let loss_change = loss(engine, examples, &unit.skipped_from(&full))? - base;
        influences.push(Influence {
            unit: *unit,
            loss_change,
        });
        if progress(index as u64 + 1, units.len() as u64).is_break() {
            return Err(Error::Cancelled);
        }
    }
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
    /// The most that the loss may rise, in nats.
    pub loss: f64,
    /// How many of the least influential units that are left each step tries.
    pub candidates: usize,
}

/// Skips units one after another, each time the one that costs least on top of those before, until the budget
/// is spent. `base` is the loss of the full model. Returns the mask and its loss.
pub fn greedy(
    engine: &Engine,
    examples: &[Tokens],
    (base, influences): (f64, &[Influence]),
    budget: Budget,
    progress: &mut Progress<'_>,
) -> Result<(LayerMask, f64)> {
    let mut left: Vec<_> = influences.to_vec();
    left.sort_by(|a, b| a.loss_change.total_cmp(&b.loss_change));
    let mut best = (LayerMask::full(engine.model.config.layers), base);
    let (mut done, total) = (0, (budget.units * budget.candidates) as u64);
    for _ in 0..budget.units {
        let mut found: Option<(usize, LayerMask, f64)> = None;
        for (index, influence) in left.iter().take(budget.candidates).enumerate() {
            let mask = influence.unit.skipped_from(&best.0);
            let loss = loss(engine, examples, &mask)?;
            if found.as_ref().is_none_or(|(_, _, least)| loss < *least) {
                found = Some((index, mask, loss));
            }
            done += 1;
            if progress(done, total).is_break() {
                return Err(Error::Cancelled);
            }
        }
        let Some((index, mask, loss)) = found else {
            break;
        };
        if loss > base + budget.loss {
            break;
        }
        left.remove(index);
        best = (mask, loss);
    }
    Ok(best)
}
