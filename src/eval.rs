//! What skipping costs: the loss of held-out answers under several policies, paired by answer.

use crate::bench::paired_difference;
use crate::calibrate::Progress;
use crate::data::Tokens;
use crate::engine::{Engine, Policy};
use crate::error::{Error, Result};
use crate::train::routed_mask;
use serde::Serialize;

/// What one policy costs.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// As it was asked for: `none`, `routed`, `even:5`.
    pub name: String,
    /// Task of each answer.
    pub tasks: Vec<String>,
    /// Mean loss of each answer's tokens, in nats.
    pub losses: Vec<f64>,
    /// Share of the layers' weight bytes that each answer's mask skips.
    pub skipped: Vec<f64>,
    /// Each answer's mask, as what it skips.
    pub masks: Vec<String>,
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl Outcome {
    /// Mean over the answers, in nats a token.
    pub fn loss(&self) -> f64 {
        mean(&self.losses)
    }

    /// Mean share of the layers' weight bytes.
    pub fn skip_rate(&self) -> f64 {
        mean(&self.skipped)
    }

    /// How many different masks there are.
    pub fn distinct_masks(&self) -> usize {
        let masks: std::collections::BTreeSet<_> = self.masks.iter().collect();
        masks.len()
    }

    /// Difference of the loss from another policy's, answer by answer, with half the width of its 95 %
    /// interval.
    pub fn change(&self, from: &Self) -> Option<(f64, f64)> {
        paired_difference(&from.losses, &self.losses)
    }
}

/// Measures every policy on every example; `examples` are tasks and token ids.
pub fn run(
    engine: &mut Engine,
    examples: &[(String, Tokens)],
    policies: &[(String, Policy)],
    progress: &mut Progress<'_>,
) -> Result<Vec<Outcome>> {
    let empty = |(name, _): &(String, Policy)| Outcome {
        name: name.clone(),
        tasks: examples.iter().map(|(task, _)| task.clone()).collect(),
        losses: Vec::new(),
        skipped: Vec::new(),
        masks: Vec::new(),
    };
    let mut outcomes: Vec<Outcome> = policies.iter().map(empty).collect();
    let total = (examples.len() * policies.len()) as u64;
    let mut done = 0;
    for (_, example) in examples {
        for ((_, policy), outcome) in policies.iter().zip(&mut outcomes) {
            let mask = match policy {
                Policy::Fixed(mask) => mask.clone(),
                Policy::Routed(decision) => {
                    // The answer must not help to choose the mask that it is measured under.
                    routed_mask(engine, &example.ids[..example.answer], decision)?
                }
                Policy::Sticky => {
                    unreachable!("no policy of an evaluation goes on with a conversation")
                }
            };
            let losses = engine.losses(&example.ids, example.answer, &mask)?;
            let losses: Vec<f64> = losses.into_iter().map(f64::from).collect();
            outcome.losses.push(mean(&losses));
            outcome.skipped.push(engine.summary.skip_rate(&mask));
            outcome.masks.push(mask.to_string());
            done += 1;
            if progress(done, total).is_break() {
                return Err(Error::Cancelled);
            }
        }
    }
    Ok(outcomes)
}
