//! Training: routers from target masks, which needs forward passes alone, and routers and low-rank updates through the model.
//!
//! | module | what lives there |
//! |---|---|
//! | [`run`] | a run from texts to routers and an adapter, which goes on where it was interrupted |
//! | [`schedule`] | what a run does in each of its steps |
//! | [`trainer`] | a text through the model and back; a step of the optimiser |
//! | `network` | the model's steps forward and backward |
//! | [`parameters`] | what learns, with gradients and moments |
//! | `workspace` | buffers for one text |
//! | [`checkpoint`], [`log`] | what is on disk |
//! | [`logistic`] | one router from labelled prompts |
//!
//! # From target masks
//!
//! For each task a greedy search finds the mask that costs its answers least per byte that it skips ([`target_path`]), or
//! runs that were trained are asked what they skip for most of its prompts ([`majority`]). The routers
//! then learn to tell the tasks apart: one logistic regression per router, on the mean of the normalised
//! stream that enters its layer *on the path that the target mask makes* ([`features`]), so that a later
//! layer learns from what it will see. Where every layer reads the prompt, that is the full model's.

pub mod checkpoint;
pub mod log;
pub mod logistic;
mod network;
pub mod parameters;
pub mod run;
pub mod schedule;
pub mod trainer;
mod workspace;

use crate::calibrate::meter::{Against, Counter, LossMeter, Noted, Progress};
use crate::calibrate::{Budget, Unit, greedy, influences};
use crate::data::Tokens;
use crate::engine::{Engine, Policy};
use crate::error::Result;
use crate::journal::Journal;
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use crate::router::{CalibrationPoint, Decision, EPSILON, Granularity, Router, THRESHOLD};
use crate::trace::ModelSummary;
use logistic::{Logistic, fit};

/// The score that a router without a choice gives: far from every sensible threshold.
const CERTAIN: f32 = 4.0;

/// A search for masks.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// What may be skipped on its own.
    pub units: &'a [Unit],
    /// How far to go.
    pub budget: Budget,
    /// What a mask is held against.
    pub against: Against,
    /// Whether it concerns the prompt.
    pub prefill: PrefillReading,
    /// A digest of the engine's adapter, or nothing: its results are noted by it.
    pub adapter: &'a str,
}

/// Masks for one task, each with one unit more than the one before, the cheapest per byte, measured on its examples; with
/// the loss of each. The full model comes first. What the journal knows is not measured again.
pub fn target_path(
    engine: &Engine,
    examples: &[Tokens],
    search: Search<'_>,
    journal: &mut Journal,
    progress: &mut Progress<'_>,
) -> Result<Vec<(LayerMask, f64)>> {
    let Search { units, budget, .. } = search;
    let total = 1 + units.len() + budget.units * budget.candidates;
    let measured = (search.against, search.prefill);
    let meter = LossMeter::new(engine, examples, measured, total, progress)?;
    let mut meter = Noted::new(meter, journal, search.adapter);
    let (base, influences) = influences(engine.model.config.layers, units, &mut meter)?;
    greedy(&engine.summary, (base, &influences), budget, &mut meter)
}

/// The mean over a prompt's tokens of `x / rms(x)` as it enters each layer, `[layers][H]`, under a mask.
pub fn features(engine: &Engine, prompt: &[u32], mask: &LayerMask) -> Result<Vec<Vec<f32>>> {
    let (layers, hidden) = (engine.model.config.layers, engine.model.config.hidden);
    let mut features = Vec::with_capacity(layers);
    engine.hidden_states(prompt, mask, &mut |index, x| {
        // After the last layer there is no router.
        if index < layers {
            features.push(pooled(x, hidden));
        }
        Ok(())
    })?;
    Ok(features)
}

fn pooled(x: &[f32], hidden: usize) -> Vec<f32> {
    let mut mean = vec![0f64; hidden];
    for row in x.chunks_exact(hidden) {
        let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
        let rms = (squares / hidden as f64 + f64::from(EPSILON)).sqrt();
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += f64::from(*x) / rms;
        }
    }
    let tokens = (x.len() / hidden).max(1) as f64;
    mean.into_iter().map(|sum| (sum / tokens) as f32).collect()
}

/// Fits one router per sublayer (or layer) to `(features, target mask)` pairs. `decay` is the weight of
/// `|w|^2` in the loss.
pub fn fit_routers(
    examples: &[(impl AsRef<[Vec<f32>]>, &LayerMask)],
    granularity: Granularity,
    decay: f32,
) -> Router {
    let layers = examples[0].1.layers();
    let hidden = examples[0].0.as_ref()[0].len();
    let count = granularity.routers_per_layer();
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    for layer in 0..layers {
        for index in 0..count {
            let sublayer = granularity.sublayer(index).unwrap_or(Sublayer::Attn);
            let runs = |mask: &LayerMask| mask.runs(layer, sublayer);
            let inputs: Vec<&[f32]> = examples
                .iter()
                .map(|(x, _)| x.as_ref()[layer].as_slice())
                .collect();
            let labels: Vec<bool> = examples.iter().map(|(_, mask)| runs(mask)).collect();
            let Logistic { weights: w, bias } = if labels.iter().all(|label| *label == labels[0]) {
                Logistic {
                    weights: vec![0.0; hidden],
                    bias: if labels[0] { CERTAIN } else { -CERTAIN },
                }
            } else {
                fit(&inputs, &labels, decay)
            };
            weights.extend(w);
            biases.push(bias);
        }
    }
    Router {
        granularity,
        thresholds: vec![THRESHOLD; biases.len()],
        weights,
        biases,
        epsilon: Some(EPSILON),
        prefill: PrefillReading::Masked,
        protected: vec![[false; 2]; layers],
    }
}

/// The mask that skips what more than half of some masks, at least one, skip.
pub fn majority(masks: &[LayerMask]) -> LayerMask {
    let layers = masks[0].layers();
    let mut majority = LayerMask::full(layers);
    for layer in 0..layers {
        for sublayer in Sublayer::BOTH {
            let running = masks.iter().filter(|mask| mask.runs(layer, sublayer));
            majority.set(layer, sublayer, 2 * running.count() >= masks.len());
        }
    }
    majority
}

/// The masks that the engine's router gives each prompt at each threshold.
pub fn masks_at(
    engine: &Engine,
    prompts: &[Vec<u32>],
    decision: &Decision,
    thresholds: &[f32],
    progress: &mut Progress<'_>,
) -> Result<Vec<Vec<LayerMask>>> {
    let at = |threshold: &f32| decision.clone().with_threshold(*threshold);
    let reading = engine.reading(&Policy::Routed(decision.clone()));
    let asked = match reading {
        PrefillReading::Masked => thresholds.len(),
        PrefillReading::Full => 1,
    };
    let mut counter = Counter::new(asked * prompts.len(), progress);
    let mut masks = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let mut at_each = Vec::with_capacity(thresholds.len());
        for threshold in &thresholds[..asked] {
            let (mask, scores) = engine.route(prompt, &at(threshold))?;
            match reading {
                PrefillReading::Masked => at_each.push(mask),
                // Every layer has read the prompt, so that scores are the same at any threshold.
                PrefillReading::Full => {
                    at_each.extend(thresholds.iter().map(|other| at(other).mask(&scores)));
                }
            }
            counter.one()?;
        }
        masks.push(at_each);
    }
    Ok(masks)
}

/// What thresholds skip, from the masks that prompts have at each: shares of the layers' weights, made to rise with the
/// threshold as a calibration must.
pub fn calibration(
    summary: &ModelSummary,
    thresholds: &[f32],
    masks: &[Vec<LayerMask>],
) -> Vec<CalibrationPoint> {
    let mut least = 0f32;
    let point = |(index, threshold): (usize, &f32)| {
        let rates = masks.iter().map(|of| summary.skip_rate(&of[index]));
        least = least.max((rates.sum::<f64>() / masks.len().max(1) as f64) as f32);
        CalibrationPoint {
            threshold: *threshold,
            skip_rate: least,
        }
    };
    thresholds.iter().enumerate().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_normalises_each_token() {
        // Two tokens of very different size point the same way.
        let mean = pooled(&[3.0, 4.0, 300.0, 400.0], 2);
        let rms = 12.5f32.sqrt();
        assert!((mean[0] - 3.0 / rms).abs() < 1e-5 && (mean[1] - 4.0 / rms).abs() < 1e-5);
    }

    #[test]
    fn the_majority_skips_what_more_than_half_skip() {
        let of = |masks: &[&str]| {
            let parse = |text: &&str| LayerMask::parse(text, 3).expect("a mask");
            majority(&masks.iter().map(parse).collect::<Vec<_>>()).to_string()
        };
        assert_eq!(of(&["0.attn,1", "0.attn,2.mlp", "1.attn"]), "0-1.attn");
        assert_eq!(of(&["0.attn", "1.attn"]), of(&[""]));
    }

    #[test]
    fn routers_learn_what_tells_masks_apart() {
        let masks = ["0.attn", "1.mlp"].map(|text| LayerMask::parse(text, 2).expect("a mask"));
        let example = |task: usize, noise: f32| {
            let sign = if task == 0 { 1.0 } else { -1.0 };
            (vec![vec![sign + noise, noise, 1.0]; 2], &masks[task])
        };
        let examples: Vec<_> = (0..8)
            .map(|index| example(index % 2, 0.1 * index as f32 - 0.4))
            .collect();
        let router = fit_routers(&examples, Granularity::Sublayer, 1e-3);
        for (x, mask) in &examples {
            let scores: Vec<f32> = (0..4)
                .map(|index| {
                    let w = &router.weights[3 * index..][..3];
                    let dot: f32 = w.iter().zip(&x[index / 2]).map(|(w, x)| w * x).sum();
                    1.0 / (1.0 + (-dot - router.biases[index]).exp())
                })
                .collect();
            assert_eq!(&router.decision().mask(&scores), *mask, "{scores:?}");
        }
    }
}
