//! Timing decode and prefill under several masks, fairly.
//!
//! Masks take turns within every repetition (A B, B A ...), so that a machine that drifts drifts for all of
//! them; differences are taken within a repetition and given with a 95 % confidence interval, which is wider
//! where repetitions resemble their neighbours.

pub mod kernels;
pub mod plot;
pub mod scaling;
pub mod statistics;
pub mod tune;

use crate::engine::{Engine, Event, Policy, Request};
use crate::error::Result;
use crate::mask::{LayerMask, Sublayer};
use crate::random::Random;
use crate::trace::{Detail, GpuSummary, ModelSummary, Run};
use serde::{Deserialize, Serialize};
use statistics::{change, quantile};
use std::ops::ControlFlow;

/// What to measure.
#[derive(Clone, Debug)]
pub struct BenchPlan {
    /// Prompt length of the prefill test; 0 leaves it out.
    pub prompt: usize,
    /// Answer length of the decode test; 0 leaves it out.
    pub answer: usize,
    /// Tokens of context that the decode test begins with.
    pub depth: usize,
    /// Repetitions that count; one more warms up.
    pub repetitions: usize,
    /// How finely to time one more decode of each repetition, whose slowdown is the observer's own cost.
    pub detail: Detail,
}

/// What to time.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// `none`, `fixed:7-9`, `even:5`; `plain` for the model without its adapter.
    pub name: String,
    /// What is skipped.
    pub policy: Policy,
    /// Whether the adapter is applied, where there is one.
    pub adapted: bool,
}

/// The result of one bench: a file that later ones can be compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The GPU.
    pub gpu: GpuSummary,
    /// The model.
    pub model: ModelSummary,
    /// Prompt length of the prefill test.
    pub prompt: usize,
    /// Answer length of the decode test.
    pub answer: usize,
    /// Context of the decode test.
    pub depth: usize,
    /// One per mask, the first of them what others are compared with.
    pub masks: Vec<Measured>,
}

/// What was measured of one mask.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// As it was asked for: `none`, `fixed:7-9`, `even:5`, `plain`.
    pub name: String,
    /// What was skipped, in the last repetition.
    pub skipped: String,
    /// Attentions skipped.
    pub attn_skipped: usize,
    /// MLPs skipped.
    pub mlp_skipped: usize,
    /// Share of the weight bytes of a decoded token that was skipped, head included.
    pub bytes_skipped: f64,
    /// Dispatches of a decoded token.
    pub decode_dispatches: u32,
    /// Bytes of KV cache.
    pub kv_bytes: u64,
    /// Time to the first token of each repetition of the prefill test, in nanoseconds.
    pub ttft_nanos: Vec<u64>,
    /// Time of every output token, one repetition after another, in nanoseconds.
    pub token_nanos: Vec<u64>,
    /// Mean time per output token of each traced decode, where there are any, in nanoseconds.
    #[serde(default)]
    pub traced_tpot_nanos: Vec<f64>,
    /// Host time per token to record the commands, median, in nanoseconds.
    pub encode_nanos: u64,
    /// Host time per token to hand them over, median, in nanoseconds. A software driver may run them
    /// within it.
    pub submit_nanos: u64,
}

impl Report {
    /// Mean time per output token of each repetition, in nanoseconds.
    pub fn tpot_nanos(&self, measured: &Measured) -> Vec<f64> {
        let repetitions = measured.token_nanos.chunks_exact(self.answer.max(1));
        let sum = |tokens: &[u64]| tokens.iter().map(|nanos| *nanos as f64).sum::<f64>();
        let mean = |tokens: &[u64]| sum(tokens) / tokens.len() as f64;
        repetitions.map(mean).collect()
    }

    /// Skip efficiency: the share of `base`'s time saved over the share of its weight bytes skipped, with half the
    /// width of its 95 % confidence interval. 1 is the ideal where bytes are what costs time.
    pub fn skip_efficiency(&self, base: &Measured, measured: &Measured) -> Option<(f64, f64)> {
        let skipped = (measured.bytes_skipped - base.bytes_skipped) / (1.0 - base.bytes_skipped);
        let [full, masked] = [base, measured].map(|measured| self.tpot_nanos(measured));
        let (change, half) = change(&full, &masked)?;
        (skipped > 0.0).then(|| (-change / skipped, half / skipped))
    }
}

/// Runs the plan for each candidate. With it come the traced runs of the last repetition.
pub fn run(
    engine: &mut Engine,
    plan: &BenchPlan,
    candidates: &[Candidate],
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(Report, Vec<Run>)> {
    let result = take_turns(engine, plan, candidates, progress);
    engine.model.adapted = true;
    result
}

fn take_turns(
    engine: &mut Engine,
    plan: &BenchPlan,
    candidates: &[Candidate],
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(Report, Vec<Run>)> {
    let mut traces = Vec::new();
    let mut masks: Vec<Measured> = candidates
        .iter()
        .map(|candidate| Measured {
            name: candidate.name.clone(),
            ..Default::default()
        })
        .collect();
    let mut host = vec![(Vec::new(), Vec::new()); masks.len()];
    let total = ((plan.repetitions + 1) * candidates.len()) as u64;
    let prompt = random_ids(engine, plan.prompt);
    let context = random_ids(engine, plan.depth.max(1));
    for repetition in 0..=plan.repetitions {
        for (turn, index) in order(repetition, candidates.len()).into_iter().enumerate() {
            let texts = [prompt.as_slice(), &context];
            let [prefilled, decoded, traced] = turn_of(engine, plan, &candidates[index], texts)?;
            let done = (repetition * candidates.len() + turn) as u64 + 1;
            if progress(done, total).is_break() {
                return Err(crate::Error::Cancelled);
            }
            if let Some(run) = decoded.as_ref().or(prefilled.as_ref()) {
                describe(&mut masks[index], run);
            }
            if repetition == 0 {
                continue;
            }
            if let Some(run) = prefilled {
                masks[index].ttft_nanos.push(run.ttft_nanos);
            }
            if let Some(run) = traced {
                let tpot = run.tpot_nanos().map(|nanos| nanos as f64);
                masks[index].traced_tpot_nanos.extend(tpot);
                if repetition == plan.repetitions {
                    traces.push(run);
                }
            }
            if let Some(run) = decoded.filter(|run| !run.token_nanos.is_empty()) {
                masks[index].token_nanos.extend(&run.token_nanos);
                let (encode, submit) = &mut host[index];
                for submission in &run.submissions {
                    encode.push(submission.encode_nanos);
                    submit.push(submission.submit_nanos);
                }
            }
        }
    }
    for (measured, (encode, submit)) in masks.iter_mut().zip(host) {
        measured.encode_nanos = quantile(&encode, 0.5).unwrap_or_default();
        measured.submit_nanos = quantile(&submit, 0.5).unwrap_or_default();
    }
    let (gpu, model) = (engine.gpu.summary.clone(), engine.summary.clone());
    let report = Report {
        gpu,
        model,
        prompt: plan.prompt,
        answer: plan.answer,
        depth: plan.depth,
        masks,
    };
    Ok((report, traces))
}

/// Alternates direction, so that no candidate always runs after the same one.
fn order(repetition: usize, candidates: usize) -> Vec<usize> {
    if repetition.is_multiple_of(2) {
        (0..candidates).collect()
    } else {
        (0..candidates).rev().collect()
    }
}

/// One turn: the prompt read, an answer behind the context, and that answer traced; those that the plan has.
fn turn_of(
    engine: &mut Engine,
    plan: &BenchPlan,
    candidate: &Candidate,
    [prompt, context]: [&[u32]; 2],
) -> Result<[Option<Run>; 3]> {
    engine.model.adapted = candidate.adapted;
    let mut generate = |ids: &[u32], max_tokens: usize, detail| {
        if max_tokens == 0 || ids.is_empty() {
            return Ok(None);
        }
        engine.reset();
        let request = request(ids, candidate, max_tokens, detail);
        let listener = &mut |_: Event<'_>| ControlFlow::Continue(());
        engine.generate(&request, listener).map(Some)
    };
    // The first token is the prompt's.
    let answer = if plan.answer > 0 { plan.answer + 1 } else { 0 };
    let prefilled = generate(prompt, 1, Detail::None)?;
    let decoded = generate(context, answer, Detail::None)?;
    let traced = match plan.detail {
        Detail::None => None,
        detail => generate(context, answer, detail)?,
    };
    Ok([prefilled, decoded, traced])
}

fn describe(measured: &mut Measured, run: &Run) {
    let mask = &run.mask;
    let full = run.model.weight_bytes(&LayerMask::full(mask.layers()));
    measured.skipped = mask.to_string();
    measured.attn_skipped = mask.skipped(Sublayer::Attn);
    measured.mlp_skipped = mask.skipped(Sublayer::Mlp);
    measured.bytes_skipped = 1.0 - run.model.weight_bytes(mask) as f64 / full as f64;
    measured.decode_dispatches = run.decode_dispatches;
    measured.kv_bytes = run.kv_bytes;
}

fn request(ids: &[u32], candidate: &Candidate, max_tokens: usize, detail: Detail) -> Request {
    Request {
        policy_name: candidate.name.clone(),
        detail,
        ..Request::new(ids.to_vec(), candidate.policy.clone(), max_tokens)
    }
}

/// The same random ids in every run; what they say does not change how long they take.
fn random_ids(engine: &Engine, count: usize) -> Vec<u32> {
    let mut random = Random(1);
    let vocab = engine.model.config.vocab;
    (0..count).map(|_| random.below(vocab) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_take_turns_there_and_back() {
        assert_eq!([order(0, 3), order(1, 3)], [[0, 1, 2], [2, 1, 0]]);
    }

    #[test]
    fn skip_efficiency_is_time_saved_over_bytes_skipped() {
        let measured = |tpot: u64, bytes_skipped| Measured {
            token_nanos: vec![tpot - 10, tpot + 10, 2 * tpot, 2 * tpot],
            bytes_skipped,
            ..Default::default()
        };
        let [full, half_skipped] = [measured(100, 0.0), measured(50, 0.5)];
        let report = Report {
            gpu: GpuSummary::default(),
            model: ModelSummary::default(),
            prompt: 0,
            answer: 2,
            depth: 0,
            masks: Vec::new(),
        };
        assert_eq!(report.tpot_nanos(&full), [100.0, 200.0]);
        assert_eq!(report.skip_efficiency(&full, &full), None);
        let (efficiency, half) = report
            .skip_efficiency(&full, &half_skipped)
            .expect("something was skipped");
        assert!((efficiency - 1.0).abs() < 1e-12 && half.abs() < 1e-12);
        // Of what a base skips that skips too, only what is skipped besides counts.
        let most_skipped = measured(25, 0.75);
        let (efficiency, _) = report
            .skip_efficiency(&half_skipped, &most_skipped)
            .expect("more was skipped");
        assert!((efficiency - 1.0).abs() < 1e-12);
        assert_eq!(report.skip_efficiency(&most_skipped, &half_skipped), None);
    }
}
