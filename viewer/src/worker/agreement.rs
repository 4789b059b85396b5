//! A run against the full model: the next-token distributions at each token of its answer.

use super::thread::{Loaded, Thread};
use crate::session::Agreement;
use first_wgpu::mask::{LayerMask, Masking};
use first_wgpu::trace::Run;
use first_wgpu::{Error, Result};

/// The most tokens that are compared: the full model's logits of all of them are kept meanwhile.
const MOST: usize = 128;

impl Thread {
    pub(super) fn agreement(
        &self,
        loaded: &mut Loaded,
        index: usize,
        run: &Run,
    ) -> Result<Agreement> {
        let engine = &mut loaded.engine;
        let same = run.model == engine.summary;
        if !same {
            let (found, model) = (&run.model.name, &engine.summary.name);
            return Err(Error::mismatch(
                format!("the run is of `{found}`, the model that is loaded is `{model}`"),
                "start the viewer with the run's model (`--model FILE`)",
            ));
        }
        // Both caches at once would be twice the memory.
        engine.reset();
        let count = run.answer_ids.len().min(MOST);
        let forced = &run.answer_ids[..count.saturating_sub(1)];
        let full = LayerMask::full(run.mask.layers());
        let mut expected: Vec<Vec<f32>> = Vec::new();
        let total = 2 * count;
        let mut done = 0;
        engine.forced_logits(&run.prompt_ids, &full.into(), forced, &mut |_, logits| {
            expected.push(logits.to_vec());
            done += 1;
            self.report("comparing with the full model", done, total)
        })?;
        let mut agreement = Agreement {
            run: index,
            ..Agreement::default()
        };
        let masking = Masking::new(run.mask.clone(), run.prefill);
        engine.forced_logits(&run.prompt_ids, &masking, forced, &mut |at, logits| {
            agreement.kl.push(divergence(&expected[at], logits));
            agreement
                .agrees
                .push(likeliest(&expected[at]) == likeliest(logits));
            done += 1;
            self.report("comparing with the full model", done, total)
        })?;
        finite(&agreement)?;
        Ok(agreement)
    }
}

/// Refuses what is no number: no session could hold it.
fn finite(agreement: &Agreement) -> Result<()> {
    let wrong = agreement.kl.iter().position(|kl| !kl.is_finite());
    match wrong {
        Some(index) => Err(Error::mismatch(
            format!(
                "at token {} of the answer the model's probabilities are no numbers, so nothing can be compared",
                index + 1
            ),
            "look for weights that are too large in the model or its LoRA, or compare another run",
        )),
        None => Ok(()),
    }
}

/// Logarithms of the probabilities, and the largest logit's place in them.
fn log_softmax(logits: &[f32]) -> impl Iterator<Item = f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = move |logit: f32| f64::from(logit - largest);
    let sum: f64 = logits.iter().map(|logit| shifted(*logit).exp()).sum();
    logits.iter().map(move |logit| shifted(*logit) - sum.ln())
}

/// Kullback-Leibler divergence of `q` from `p`, in nats.
fn divergence(p: &[f32], q: &[f32]) -> f32 {
    let terms = log_softmax(p).zip(log_softmax(q));
    // What is impossible adds nothing, however impossible `q` finds it.
    let possible = terms.filter(|(p, _)| p.exp() != 0.0);
    possible.map(|(p, q)| p.exp() * (p - q)).sum::<f64>() as f32
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    let pairs = logits.iter().enumerate();
    let best = pairs.max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_of_known_distributions() {
        let logits = |p: f32| [p.ln(), (1.0 - p).ln()];
        assert!(divergence(&logits(0.3), &logits(0.3)).abs() < 1e-7);
        let expected = 0.5 * (0.5f32 / 0.9).ln() + 0.5 * (0.5f32 / 0.1).ln();
        assert!((divergence(&logits(0.5), &logits(0.9)) - expected).abs() < 1e-6);
        // Only differences of logits count, and large ones do not overflow.
        assert!(divergence(&[1000.0, 0.0], &[2000.0, 1000.0]).abs() < 1e-7);
        assert_eq!(likeliest(&[0.0, 3.0, 1.0]), Some(1));
    }

    #[test]
    fn what_is_impossible_adds_nothing_and_what_is_no_number_is_refused() {
        let never = f32::NEG_INFINITY;
        assert_eq!(divergence(&[0.0, never], &[0.0, never]), 0.0);
        let measured = |kl| Agreement {
            kl: vec![0.5, kl],
            ..Agreement::default()
        };
        assert!(finite(&measured(0.1)).is_ok());
        for kl in [
            divergence(&[0.0, f32::NAN], &[0.0, 1.0]),
            divergence(&[0.0, 0.0], &[0.0, never]),
        ] {
            let error = finite(&measured(kl)).expect_err("refused").to_string();
            assert!(error.contains("token 2 of the answer"), "{error}");
        }
    }
}
