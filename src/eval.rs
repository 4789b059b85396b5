//! What skipping costs: loss and scores of held-out answers under several policies, paired by answer.
//!
//! A *policy* says what is skipped: routers, one mask, a mask for each task. Each can be measured with LoRA
//! adapters and without. Beside the routers stand [`controls`] that skip as many weight bytes. The model with
//! layers removed for good is among them: a masked layer has no dispatch and no cache, so a fixed mask computes
//! what the smaller model would (`tests/end_to_end` compares the two).
//!
//! | module | what lives there |
//! |---|---|
//! | [`controls`] | masks to compare with, at a given rate |
//! | [`metrics`] | exact match, F1, ROUGE-L, BLEU, chrF |
//! | [`mod@bootstrap`] | intervals |
//! | [`meter`] | an engine whose results are noted |
//! | [`report`] | what follows from the results |
//! | [`saved`] | results that are read again |
//! | `tables` | tables, CSV, the picture |

pub mod bootstrap;
pub mod controls;
pub mod meter;
pub mod metrics;
pub mod report;
pub mod saved;
mod tables;

use crate::calibrate::block_influence;
use crate::calibrate::meter::{Counter, Progress};
use crate::data::{Tokens, task_name};
use crate::error::{Error, Result};
use crate::mask::{LayerMask, Masking, PrefillReading};
use crate::router::{Decision, Granularity, Router};
use controls::{CANDIDATES, Control, Quota};
use meter::Meter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An answer to measure.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its task.
    pub task: String,
    /// Prompt and answer.
    pub tokens: Tokens,
    /// The answer as text.
    pub reference: String,
}

impl Item {
    /// How many tokens the answer has, the end of the turn included.
    pub fn answer_tokens(&self) -> usize {
        self.tokens.ids.len() - self.tokens.answer
    }
}

/// Where the masks of a policy come from.
#[derive(Clone, Debug)]
pub enum Masks {
    /// One mask for every prompt.
    Fixed(LayerMask),
    /// Several, of which the mean is measured.
    Several(Vec<LayerMask>),
    /// One for each task.
    PerTask(BTreeMap<String, LayerMask>),
    /// From the prompt.
    Routed(Box<Router>, Decision),
}

/// A policy, with an adapter or without.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What tables call the policy.
    pub policy: String,
    /// What is skipped.
    pub masks: Masks,
    /// Whether they concern the prompt.
    pub prefill: PrefillReading,
    /// Index of the adapter.
    pub adapter: Option<usize>,
}

/// A LoRA adapter.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// What tables call it.
    pub name: String,
    /// What it holds, for the journal.
    pub digest: String,
    /// The only policy to measure it with; all of them if `None`.
    pub policy: Option<String>,
}

/// One answer under one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What is skipped; more than one where the mean of several is measured.
    pub masks: Vec<String>,
    /// Share of the layers' weight bytes.
    pub skipped: f64,
    /// Mean over the answer's tokens, in nats.
    pub loss: f64,
    /// What the model answers, one for each mask, if that was asked for.
    pub answers: Vec<String>,
}

/// A candidate's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The policy's name.
    pub policy: String,
    /// The adapter's name.
    pub adapter: Option<String>,
    /// Whether its masks come from the prompt.
    pub routed: bool,
    /// Whether they concern it.
    pub prefill: PrefillReading,
    /// In the order of the items.
    pub answers: Vec<Measured>,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct EvalPlan {
    /// What is measured.
    pub items: Vec<Item>,
    /// What controls are searched on; none of `items`.
    pub calibration: Vec<Item>,
    /// Policies to measure.
    pub candidates: Vec<Candidate>,
    /// Indices of those at whose rates there are to be controls.
    pub leads: Vec<usize>,
    /// Which controls.
    pub controls: Vec<Control>,
    /// Whether what has an adapter is measured with it alone.
    pub tuned: bool,
    /// How many random masks.
    pub seeds: u64,
    /// The most tokens of an answer; `None` to measure losses alone.
    pub answer_tokens: Option<usize>,
}

/// Searches the controls, and measures everything on every item.
pub fn run(
    meter: &mut Meter<'_>,
    plan: &EvalPlan,
    searching: &mut Progress<'_>,
    measuring: &mut Progress<'_>,
) -> Result<Vec<Row>> {
    let mut candidates = plan.candidates.clone();
    candidates.extend(control_candidates(meter, plan, searching)?);
    let mut counter = Counter::new(candidates.len() * plan.items.len(), measuring);
    let row = |candidate: &Candidate| Row {
        policy: candidate.policy.clone(),
        adapter: candidate
            .adapter
            .map(|index| meter.adapters()[index].name.clone()),
        routed: matches!(&candidate.masks, Masks::Routed(router, _) if router.tells_apart()),
        prefill: candidate.prefill,
        answers: Vec::new(),
    };
    let mut rows: Vec<Row> = candidates.iter().map(row).collect();
    // Adapter by adapter, since a merged one means loading the model again, and answer by answer, since masks share a prompt
    // that every layer reads.
    let adapters: BTreeSet<_> = candidates.iter().map(|one| one.adapter).collect();
    for adapter in adapters {
        for item in &plan.items {
            for (candidate, row) in candidates.iter().zip(&mut rows) {
                if candidate.adapter == adapter {
                    row.answers
                        .push(meter.measure(candidate, item, plan.answer_tokens)?);
                    counter.one()?;
                }
            }
        }
    }
    Ok(rows)
}

/// The controls of every lead, without an adapter and with those that go with them.
fn control_candidates(
    meter: &mut Meter<'_>,
    plan: &EvalPlan,
    progress: &mut Progress<'_>,
) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for item in &plan.items {
        *answers.entry(&item.task).or_default() += 1;
    }
    for &lead in &plan.leads {
        let lead = &plan.candidates[lead];
        let mut counter = Counter::new(plan.items.len(), progress);
        let mut masks = Vec::new();
        for item in &plan.items {
            // As rates are told: each task weighs the same.
            let weight = 1.0 / answers[item.task.as_str()] as f64;
            let own = meter.masks(lead, item)?;
            masks.extend(own.into_iter().map(|mask| (mask, weight)));
            counter.one()?;
        }
        let granularity = match &lead.masks {
            Masks::Routed(router, _) => router.granularity,
            _ => Granularity::Sublayer,
        };
        let prefill = lead.prefill;
        meter.set_adapter(None)?;
        let summary = meter.engine().summary.clone();
        let quota = Quota::of(&summary, granularity, &masks);
        for &control in &plan.controls {
            let masks = control_masks(meter, plan, (&quota, prefill), control, progress)?;
            let policy = control_name(control, &lead.policy);
            let adapters = adapters_of(&policy, meter.adapters(), plan.tuned);
            found.extend(adapters.map(|adapter| Candidate {
                policy: policy.clone(),
                masks: masks.clone(),
                prefill,
                adapter,
            }));
        }
    }
    Ok(found)
}

/// What a policy is called without its rate: `routed` of `routed@8%`.
pub(crate) fn family(policy: &str) -> &str {
    policy.split('@').next().unwrap_or_default()
}

/// The rate that a policy is named after: `8%` in `routed@8%`.
fn named_rate(policy: &str) -> Option<&str> {
    policy.split_once('@').map(|(_, rate)| rate)
}

/// What tables call a control that skips as much as a policy: after the rate of that, if it has one.
pub fn control_name(control: Control, lead: &str) -> String {
    match named_rate(lead) {
        Some(rate) => format!("{}@{rate}", control.name()),
        None => control.name().to_owned(),
    }
}

/// No adapter, unless `tuned` and there is one, and those that are to be measured with a policy.
pub fn adapters_of<'a>(
    policy: &'a str,
    adapters: &'a [Adapter],
    tuned: bool,
) -> impl Iterator<Item = Option<usize>> + 'a {
    let all = Some(family(policy));
    let goes = move |adapter: &Adapter| {
        let own = adapter.policy.as_deref();
        own.is_none() || own == Some(policy) || own == all
    };
    let mut with = (0..adapters.len())
        .filter(move |index| goes(&adapters[*index]))
        .peekable();
    let without = (!tuned || with.peek().is_none()).then_some(None);
    without.into_iter().chain(with.map(Some))
}

fn control_masks(
    meter: &mut Meter<'_>,
    plan: &EvalPlan,
    (quota, prefill): (&Quota<'_>, PrefillReading),
    control: Control,
    progress: &mut Progress<'_>,
) -> Result<Masks> {
    let all: Vec<&Item> = plan.calibration.iter().collect();
    Ok(match control {
        Control::Even => Masks::Fixed(quota.even()?),
        Control::Random => {
            let masks = (1..=plan.seeds).map(|seed| quota.random(seed));
            Masks::Several(masks.collect::<Result<_>>()?)
        }
        Control::BlockInfluence => {
            let texts = all.iter().map(|item| &item.tokens);
            let influence = block_influence(meter.engine(), texts, quota.granularity, progress)?;
            Masks::Fixed(quota.least_influential(&influence))
        }
        Control::Greedy => Masks::Fixed(greedy(meter, &all, (quota, prefill), progress)?),
        Control::PerTask => {
            let mut masks = BTreeMap::new();
            for item in &plan.items {
                if !masks.contains_key(&item.task) {
                    let own: Vec<&Item> = all
                        .iter()
                        .copied()
                        .filter(|other| other.task == item.task)
                        .collect();
                    if own.is_empty() {
                        return Err(nothing_to_search(&item.task));
                    }
                    let mask = greedy(meter, &own, (quota, prefill), progress)?;
                    masks.insert(item.task.clone(), mask);
                }
            }
            Masks::PerTask(masks)
        }
    })
}

/// That a task has no calibration data.
pub(crate) fn nothing_to_search(task: &str) -> Error {
    Error::input(
        format!("nothing to search a mask for task `{}` on", task_name(task)),
        "give calibration data of every task, or name `--controls` other than `per-task`",
    )
}

fn greedy(
    meter: &mut Meter<'_>,
    items: &[&Item],
    (quota, prefill): (&Quota<'_>, PrefillReading),
    progress: &mut Progress<'_>,
) -> Result<LayerMask> {
    // Every unit alone, then a few tries for each that is skipped.
    let units = quota.summary.layers * quota.granularity.routers_per_layer();
    let skipped = quota.counts.iter().sum::<usize>();
    let total = (units + 1 + CANDIDATES * skipped) * items.len();
    let mut counter = Counter::new(total, progress);
    quota.greedy(&mut |mask: &LayerMask| {
        let masking = Masking::new(mask.clone(), prefill);
        let mut sum = 0.0;
        for item in items {
            sum += meter.loss(item, &masking)?;
            counter.one()?;
        }
        Ok(sum / items.len() as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_goes_with_a_policy_at_one_rate_or_at_all() {
        let adapter = |policy: Option<&str>| Adapter {
            name: "lora".to_owned(),
            digest: String::new(),
            policy: policy.map(str::to_owned),
        };
        let adapters = [None, Some("routed"), Some("routed@8%"), Some("none")].map(adapter);
        let of = |policy| adapters_of(policy, &adapters, false).collect::<Vec<_>>();
        assert_eq!(of("routed@8%"), [None, Some(0), Some(1), Some(2)]);
        assert_eq!(of("routed@4%"), [None, Some(0), Some(1)]);
        assert_eq!(of("none"), [None, Some(0), Some(3)]);
        let tuned = |policy| adapters_of(policy, &adapters[1..], true).collect::<Vec<_>>();
        assert_eq!(tuned("routed@4%"), [Some(0)]);
        assert_eq!(tuned("even"), [None]);
    }
}
