//! Policies at the same rate, as `first eval` chooses them: as many attentions and MLPs as the router skips on average,
//! others than it skips.

use super::Outcome;
use super::thread::{Loaded, Thread, numbered};
use crate::job::{Choice, Options};
use crate::prompts::Prompt;
use crate::session::{Control, Measured};
use crate::stats;
use first_wgpu::engine::Request;
use first_wgpu::eval::controls::Quota;
use first_wgpu::mask::{LayerMask, Masking, Sublayer};
use first_wgpu::router::Granularity;
use first_wgpu::trace::{Detail, FinishReason, Run, Sampling};
use first_wgpu::{Error, Result};

/// How often each policy is timed, in turns.
const REPETITIONS: usize = 5;

/// Tokens of an answer that are enough to time it; and, where the set has none to measure the loss of, of the full model's own.
const TOKENS: usize = 32;

/// The seed of the random mask: the same in every session.
const SEED: u64 = 1;

/// A prompt with an answer to measure the loss of, and the router's mask for it.
struct Example {
    ids: Vec<u32>,
    answer: usize,
    routed: LayerMask,
}

/// A policy's name and its mask; the router's own masks without one.
type Named = (&'static str, Option<LayerMask>);

impl Thread {
    /// Tells of what is skipped and lost as soon as it is known, and again with the times, as far as those go.
    pub(super) fn controls(
        &self,
        loaded: &mut Loaded,
        session: u64,
        prompts: &[Prompt],
        options: &Options,
    ) -> Result<()> {
        let options = Options {
            max_tokens: TOKENS,
            sampling: Sampling::default(),
            detail: Detail::None,
            ..options.clone()
        };
        let mut examples = Vec::new();
        for (index, prompt) in prompts.iter().enumerate() {
            self.report("asking the router", index, prompts.len())?;
            let example = self.example(loaded, prompt, &options);
            examples.push(example.map_err(|error| numbered(error, index, prompts.len()))?);
        }
        let policies = policies(loaded, &examples)?;
        let mut controls = self.losses(loaded, &examples, &policies)?;
        let of = Measured {
            model: loaded.engine.summary.name.clone(),
            gpu: loaded.engine.gpu.summary.name.clone(),
        };
        self.finish(Outcome::Controls {
            session,
            controls: controls.clone(),
            of: of.clone(),
        });
        let timed = self.times(loaded, prompts, &policies, &options, &mut controls);
        self.finish(Outcome::Controls {
            session,
            controls,
            of,
        });
        timed
    }

    /// What each policy skips, and what that costs.
    fn losses(
        &self,
        loaded: &mut Loaded,
        examples: &[Example],
        policies: &[Named],
    ) -> Result<Vec<Control>> {
        let prefill = loaded.prefill();
        let mut controls = Vec::new();
        for (place, (name, mask)) in policies.iter().enumerate() {
            let mut control = Control {
                name: (*name).to_owned(),
                ..Control::default()
            };
            for (index, example) in examples.iter().enumerate() {
                let done = place * examples.len() + index;
                self.report("measuring losses", done, policies.len() * examples.len())?;
                let mask = mask.as_ref().unwrap_or(&example.routed);
                let masking = Masking::new(mask.clone(), prefill);
                let engine = &loaded.engine;
                let losses = engine.losses(&example.ids, example.answer, &masking)?;
                let losses: Vec<f64> = losses.into_iter().map(f64::from).collect();
                let loss = known(stats::mean(&losses), name);
                let loss = loss.map_err(|error| numbered(error, index, examples.len()))?;
                control.losses.push(loss);
                control.tokens.push(losses.len());
                control.masks.push(mask.to_string());
                control.skipped.push(loaded.engine.summary.skip_rate(mask));
            }
            controls.push(control);
        }
        Ok(controls)
    }

    /// What each policy saves: in turns, so that a machine that drifts drifts for all of them; the first turn warms up.
    fn times(
        &self,
        loaded: &mut Loaded,
        prompts: &[Prompt],
        policies: &[Named],
        options: &Options,
        controls: &mut [Control],
    ) -> Result<()> {
        let prefill = loaded.prefill();
        for repetition in 0..=REPETITIONS {
            let prompt = &prompts[timed_prompt(repetition, prompts.len())];
            for (place, (_, mask)) in policies.iter().enumerate() {
                let done = repetition * policies.len() + place;
                self.report("timing", done, (REPETITIONS + 1) * policies.len())?;
                let fixed = |mask| Choice::Mask(Masking::new(mask, prefill));
                let choice = mask.clone().map_or(Choice::Routed, fixed);
                let tpot = self.time(
                    loaded,
                    &prompt.text,
                    &Options {
                        choice,
                        ..options.clone()
                    },
                )?;
                if repetition > 0 {
                    controls[place].tpot_nanos.extend(tpot);
                }
            }
        }
        Ok(())
    }

    /// A set's own answer, or where there is none the full model's, which the other policies should give too.
    fn example(&self, loaded: &mut Loaded, prompt: &Prompt, options: &Options) -> Result<Example> {
        let ask = |choice, max_tokens| Options {
            choice,
            max_tokens,
            ..options.clone()
        };
        let routed = loaded.request(&prompt.text, &ask(Choice::Routed, 1))?;
        let routed = self.generate(loaded, &routed)?;
        let mut ids = routed.prompt_ids;
        let answer = ids.len();
        match &prompt.completion {
            Some(completion) => {
                ids.extend(loaded.engine.tokenizer.encode_continuation(completion)?);
            }
            None => {
                let full = loaded.request(&prompt.text, &ask(Choice::Full, options.max_tokens))?;
                ids.extend(self.generate(loaded, &full)?.answer_ids);
            }
        }
        ids.truncate(loaded.engine.model.config.context);
        if ids.len() <= answer {
            return Err(Error::input(
                format!("no answer to measure for `{}`", prompt.text),
                "give the prompt a `completion`, or take it out",
            ));
        }
        Ok(Example {
            ids,
            answer,
            routed: routed.mask,
        })
    }

    /// Mean time per output token of an answer of full length.
    fn time(&self, loaded: &mut Loaded, prompt: &str, options: &Options) -> Result<Option<f64>> {
        let mut request = loaded.request(prompt, options)?;
        request.stop_at_end = false;
        let run = self.generate(loaded, &request)?;
        Ok(run.tpot_nanos().map(|nanos| nanos as f64))
    }

    /// Answers; *Stop* is heard at each layer of the prompt and each token.
    fn generate(&self, loaded: &mut Loaded, request: &Request) -> Result<Run> {
        whole(loaded.engine.generate(request, &mut |_| self.flow())?)
    }
}

/// Which prompt of a set a repetition times: spread evenly over the set, which may be sorted by tag; of fewer prompts than
/// repetitions, each in turn. The turn that warms up takes the one of the last.
fn timed_prompt(repetition: usize, prompts: usize) -> usize {
    let timed = prompts.min(REPETITIONS);
    let turn = (repetition + timed - 1) % timed;
    (2 * turn + 1) * prompts / (2 * timed)
}

/// What is compared: the router, and others that skip as much; the first skips nothing.
fn policies(loaded: &Loaded, examples: &[Example]) -> Result<[Named; 5]> {
    let routed = examples.iter().map(|example| example.routed.clone());
    let masks: Vec<LayerMask> = routed.collect();
    let summary = &loaded.engine.summary;
    let alike: Vec<_> = masks.iter().map(|mask| (mask.clone(), 1.0)).collect();
    let quota = Quota::of(summary, Granularity::Sublayer, &alike);
    Ok([
        ("none", Some(LayerMask::full(summary.layers))),
        ("routed", None),
        ("fixed", Some(most_skipped(&masks, quota.counts))),
        ("random", Some(quota.random(SEED)?)),
        ("even", Some(quota.even()?)),
    ])
}

/// Refuses what is no number: no session could hold it.
fn known(loss: f64, policy: &str) -> Result<f64> {
    if loss.is_finite() {
        return Ok(loss);
    }
    Err(Error::input(
        format!("the loss of its answer under `{policy}` is no number"),
        "take it out of the set, or look for weights that are too large in the model or its LoRA",
    ))
}

/// An answer that the user has not cut short: what is cut says nothing of a policy.
fn whole(run: Run) -> Result<Run> {
    match run.finish_reason {
        Some(FinishReason::Cancelled) => Err(Error::Cancelled),
        _ => Ok(run),
    }
}

/// Skips these many attentions and MLPs, those that the masks skip most often; the earlier of equals.
fn most_skipped(masks: &[LayerMask], counts: [usize; 2]) -> LayerMask {
    let layers = masks[0].layers();
    let mut fixed = LayerMask::full(layers);
    for (sublayer, count) in Sublayer::BOTH.into_iter().zip(counts) {
        let skips = |layer: usize| masks.iter().filter(move |mask| !mask.runs(layer, sublayer));
        let mut order: Vec<usize> = (0..layers).collect();
        order.sort_by_key(|layer| std::cmp::Reverse(skips(*layer).count()));
        for layer in &order[..count] {
            fixed.set(*layer, sublayer, false);
        }
    }
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;

    #[test]
    fn what_is_cut_short_says_nothing() {
        let mut run = Session::demo().runs[0].clone();
        assert!(whole(run.clone()).is_ok());
        run.finish_reason = Some(FinishReason::Cancelled);
        assert!(matches!(whole(run), Err(Error::Cancelled)));
    }

    #[test]
    fn a_loss_that_is_no_number_is_refused() {
        assert_eq!(known(2.5, "even").ok(), Some(2.5));
        for loss in [f64::NAN, f64::INFINITY] {
            let error = known(loss, "even").expect_err("refused");
            let error = numbered(error, 1, 3).to_string();
            assert!(
                error.contains("prompt 2 of 3: the loss of its answer under `even`"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_timed_is_spread_over_the_set() {
        let timed = |prompts| -> Vec<usize> {
            let repetitions = 1..=REPETITIONS;
            repetitions.map(|at| timed_prompt(at, prompts)).collect()
        };
        assert_eq!(timed(100), [10, 30, 50, 70, 90]);
        assert_eq!(timed(8), [0, 2, 4, 5, 7]);
        assert_eq!(timed(3), [0, 1, 2, 0, 1]);
        assert_eq!(timed(1), [0; REPETITIONS]);
        assert!(timed_prompt(0, 3) < 3, "the warm-up");
    }

    #[test]
    fn the_fixed_mask_is_what_most_masks_skip() {
        let parse = |text| LayerMask::parse(text, 12).expect("a mask");
        let masks = ["3.attn,7", "3.attn,5.attn,7.mlp", "3.attn"].map(parse);
        assert_eq!(most_skipped(&masks, [1, 1]).to_string(), "3.attn,7.mlp");
        assert_eq!(most_skipped(&masks, [2, 0]).to_string(), "3.attn,5.attn");
    }
}
