//! What follows from the results: means with their intervals, and what is held against what.

use super::bootstrap::{Bootstrap, Interval};
use super::metrics::Metric;
use super::{Item, Row, family, named_rate};
use crate::error::Result;
use crate::mask::{LayerMask, PrefillReading};
use crate::trace::{GpuSummary, ModelSummary};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Policies whose rates differ by no more than this share of the layers' weights are compared, and those named after one rate.
const SAME_RATE: f64 = 0.006;

/// Everything that was measured, and what follows from it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The model.
    pub model: ModelSummary,
    /// What it ran on.
    pub gpu: GpuSummary,
    /// The task of each answer.
    pub tasks: Vec<String>,
    /// How many tokens each has.
    pub tokens: Vec<usize>,
    /// Each policy's results on each answer.
    pub rows: Vec<Row>,
    /// Each policy's results in short.
    pub summaries: Vec<Summary>,
}

/// A policy's results in short.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The policy's name.
    pub policy: String,
    /// The adapter's name.
    pub adapter: Option<String>,
    /// Whether its masks concern the prompt.
    pub prefill: PrefillReading,
    /// Mean share of the layers' weight bytes skipped, over tasks and their answers.
    pub skipped: f64,
    /// That mean with an answer's first token counted as one that skips nothing, where every layer reads the prompt and that
    /// token comes from all of them.
    pub skipped_with_first: f64,
    /// What is skipped on the mean over all answers' tokens.
    pub skipped_by_token: f64,
    /// Mean loss of all answers' tokens, in nats.
    pub loss_by_token: f64,
    /// How many different masks there are.
    pub masks: usize,
    /// Macro mean over tasks, in nats a token.
    pub loss: Interval,
    /// Share by which the loss is above that of the same model with all its layers.
    pub against_none: Option<Interval>,
    /// Share by which the loss of the routed policy of that name, at the same rate, is above this one's.
    pub routed_against_it: Option<(String, Interval)>,
    /// By task.
    pub tasks: Vec<TaskSummary>,
    /// Mean Jaccard distance of the masks of two answers, by pairs of tasks; a task of one answer has none to
    /// itself. Of routed policies.
    pub distances: Vec<(String, String, Option<f64>)>,
}

/// A policy's results on a task.
#[derive(Debug, Serialize)]
pub struct TaskSummary {
    /// The task.
    pub task: String,
    /// How many answers.
    pub answers: usize,
    /// Mean share of the layers' weight bytes skipped.
    pub skipped: f64,
    /// How many different masks there are.
    pub masks: usize,
    /// Mean over the answers, in nats a token.
    pub loss: Interval,
    /// Scores of what the model answers, if it was asked.
    pub scores: Vec<(Metric, Interval)>,
}

impl Report {
    /// Sums up what was measured of `items`; `seed` is the bootstrap's.
    pub fn new(
        model: ModelSummary,
        gpu: GpuSummary,
        items: &[Item],
        rows: Vec<Row>,
        seed: u64,
    ) -> Result<Self> {
        let report = Self {
            model,
            gpu,
            tasks: items.iter().map(|item| item.task.clone()).collect(),
            tokens: items.iter().map(Item::answer_tokens).collect(),
            rows,
            summaries: Vec::new(),
        };
        report.summed_up(seed, |row, task, bootstrap| {
            scores(row, task, items, bootstrap)
        })
    }

    /// With summaries of its rows, and with what each row's answers of a task score, by its place and its name.
    pub(super) fn summed_up(
        mut self,
        seed: u64,
        scores: impl Fn(&Row, (usize, &str), &Bootstrap) -> Vec<(Metric, Interval)>,
    ) -> Result<Self> {
        let bootstrap = Bootstrap::new(&self.tasks, seed);
        let summarised = |row| {
            let mut summary = summary(row, &self, &bootstrap)?;
            for (index, task) in summary.tasks.iter_mut().enumerate() {
                task.scores = scores(row, (index, &task.task), &bootstrap);
            }
            Ok(summary)
        };
        let summaries = self.rows.iter().map(summarised).collect::<Result<_>>()?;
        self.summaries = summaries;
        Ok(self)
    }
}

/// What the answers of a task score; nothing where none were asked for.
fn scores(
    row: &Row,
    (index, task): (usize, &str),
    items: &[Item],
    bootstrap: &Bootstrap,
) -> Vec<(Metric, Interval)> {
    let metrics = Metric::of_task(task).iter();
    let scores = metrics.filter_map(|metric| {
        let counts = counts(*metric, row, items)?;
        let score = |tasks: &[Vec<usize>]| metric.score(&sum(&counts, &tasks[index]));
        Some((*metric, bootstrap.interval(score)))
    });
    scores.collect()
}

fn losses(row: &Row) -> Vec<f64> {
    row.answers.iter().map(|answer| answer.loss).collect()
}

fn rates(row: &Row) -> Vec<f64> {
    row.answers.iter().map(|answer| answer.skipped).collect()
}

fn summary(row: &Row, report: &Report, bootstrap: &Bootstrap) -> Result<Summary> {
    let Report { rows, tokens, .. } = report;
    let own = losses(row);
    let skipped = |row: &Row| bootstrap.mean_value(&rates(row));
    let masks_of = |answers: &[usize]| {
        let masks = answers.iter().flat_map(|index| &row.answers[*index].masks);
        masks.collect::<BTreeSet<_>>().len()
    };
    let tasks = bootstrap
        .tasks()
        .enumerate()
        .map(|(index, (task, answers))| {
            let mean = |values: &[f64]| {
                answers.iter().map(|answer| values[*answer]).sum::<f64>() / answers.len() as f64
            };
            TaskSummary {
                task: task.to_owned(),
                answers: answers.len(),
                skipped: mean(&rates(row)),
                masks: masks_of(answers),
                loss: bootstrap.interval(|tasks| {
                    let sum: f64 = tasks[index].iter().map(|answer| own[*answer]).sum();
                    sum / tasks[index].len() as f64
                }),
                scores: Vec::new(),
            }
        });
    let all: Vec<usize> = (0..row.answers.len()).collect();
    let base = base(row, rows).filter(|base| !std::ptr::eq(*base, row));
    let routed = routed_beside(row, rows, &skipped);
    let [skipped_by_token, loss_by_token] = by_token(row, tokens);
    Ok(Summary {
        policy: row.policy.clone(),
        adapter: row.adapter.clone(),
        prefill: row.prefill,
        skipped: skipped(row),
        skipped_with_first: bootstrap.mean_value(&with_first(row, tokens)),
        skipped_by_token,
        loss_by_token,
        masks: masks_of(&all),
        loss: bootstrap.mean(&own),
        against_none: base.map(|base| bootstrap.change(&losses(base), &own)),
        routed_against_it: routed.map(|routed| {
            (
                routed.policy.clone(),
                bootstrap.change(&own, &losses(routed)),
            )
        }),
        tasks: tasks.collect(),
        distances: if row.routed {
            distances(row, bootstrap, report.model.layers)?
        } else {
            Vec::new()
        },
    })
}

/// The same model with all its layers: with the same adapter, or the one trained for running them all.
fn base<'a>(row: &Row, rows: &'a [Row]) -> Option<&'a Row> {
    let full = || rows.iter().filter(|other| other.policy == "none");
    full()
        .find(|other| other.adapter == row.adapter)
        .or_else(|| full().find(|other| other.adapter.is_some() == row.adapter.is_some()))
}

/// The policy of the first routers that skips as much or is named after the same rate, with an adapter if this one has one.
fn routed_beside<'a>(row: &Row, rows: &'a [Row], skipped: &dyn Fn(&Row) -> f64) -> Option<&'a Row> {
    let own = skipped(row);
    let apart = |other: &Row| (skipped(other) - own).abs();
    let named = named_rate(&row.policy);
    let named_alike = |other: &Row| named.is_some() && named == named_rate(&other.policy);
    let comparable = |other: &&Row| {
        other.routed
            && other.prefill == row.prefill
            && other.adapter.is_some() == row.adapter.is_some()
    };
    let first = family(&rows.iter().find(|row| row.routed)?.policy);
    if family(&row.policy) == first {
        return None;
    }
    rows.iter()
        .filter(comparable)
        .filter(|other| family(&other.policy) == first)
        .filter(|other| apart(other) <= SAME_RATE || named_alike(other))
        .min_by(|a, b| {
            let [a, b] = [a, b].map(|other| (other.adapter != row.adapter, apart(other)));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        })
}

/// What is skipped of each answer, whose first token comes from all layers where they all read the prompt.
fn with_first(row: &Row, tokens: &[usize]) -> Vec<f64> {
    let unskipped = usize::from(!row.prefill.is_masked());
    let answers = row.answers.iter().zip(tokens.iter().copied());
    let share = answers.map(|(answer, tokens)| {
        answer.skipped * tokens.saturating_sub(unskipped) as f64 / tokens.max(1) as f64
    });
    share.collect()
}

/// The share skipped of all answers' tokens, and their loss.
fn by_token(row: &Row, tokens: &[usize]) -> [f64; 2] {
    let (mut skipped, mut loss, mut all) = (0.0, 0.0, 0);
    let shares = with_first(row, tokens);
    for ((answer, share), &tokens) in row.answers.iter().zip(shares).zip(tokens) {
        skipped += share * tokens as f64;
        loss += answer.loss * tokens as f64;
        all += tokens;
    }
    [skipped, loss].map(|sum| sum / all.max(1) as f64)
}

/// The counts of each answer, over the masks whose mean is measured; `None` where nothing was answered.
fn counts(metric: Metric, row: &Row, items: &[Item]) -> Option<Vec<Vec<f64>>> {
    let of = |(answer, item): (&super::Measured, &Item)| {
        let each = answer
            .answers
            .iter()
            .map(|text| metric.counts(text, &item.reference));
        each.reduce(|a, b| a.iter().zip(b).map(|(a, b)| a + b).collect())
            .unwrap_or_default()
    };
    let counts: Vec<_> = row.answers.iter().zip(items).map(of).collect();
    counts
        .iter()
        .any(|counts| !counts.is_empty())
        .then_some(counts)
}

fn sum(counts: &[Vec<f64>], answers: &[usize]) -> Vec<f64> {
    let mut sum = vec![0.0; answers.first().map_or(0, |answer| counts[*answer].len())];
    for answer in answers {
        sum.iter_mut()
            .zip(&counts[*answer])
            .for_each(|(sum, count)| *sum += count);
    }
    sum
}

fn distances(
    row: &Row,
    bootstrap: &Bootstrap,
    layers: usize,
) -> Result<Vec<(String, String, Option<f64>)>> {
    // There are few masks, however many answers.
    let tasks: Vec<_> = bootstrap
        .tasks()
        .map(|(name, answers)| {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for answer in answers {
                *counts.entry(&row.answers[*answer].masks[0]).or_default() += 1;
            }
            let parse = |(mask, count)| Ok((LayerMask::parse(mask, layers)?, count));
            let masks = counts.into_iter().map(parse).collect::<Result<Vec<_>>>()?;
            Ok((name, masks))
        })
        .collect::<Result<_>>()?;
    let mut found = Vec::new();
    for (first, (name, own)) in tasks.iter().enumerate() {
        for (second, (other, others)) in tasks.iter().enumerate().skip(first) {
            let (mut pairs, mut sum) = (0, 0.0);
            for (index, (mask, count)) in own.iter().enumerate() {
                // Within a task each pair once; answers of one mask are not apart.
                let skip = if first == second { index + 1 } else { 0 };
                for (another, times) in &others[skip..] {
                    sum += (count * times) as f64 * mask.distance(another);
                }
                pairs += if first == second {
                    count * (count - 1) / 2
                } else {
                    0
                };
                pairs += others[skip..]
                    .iter()
                    .map(|(_, times)| count * times)
                    .sum::<usize>();
            }
            let mean = (pairs > 0).then(|| sum / pairs as f64);
            found.push(((*name).to_owned(), (*other).to_owned(), mean));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::Measured;
    use super::*;

    #[test]
    fn long_answers_count_for_more_by_token() {
        let answer = |(skipped, loss): (f64, f64)| Measured {
            masks: Vec::new(),
            skipped,
            loss,
            answers: Vec::new(),
        };
        let row = |prefill| Row {
            policy: "routed".to_owned(),
            adapter: None,
            routed: true,
            prefill,
            answers: [(0.3, 2.0), (0.1, 1.0)].map(answer).to_vec(),
        };
        let tokens = [2, 8];
        let round = |value: f64| (value * 1e6).round() / 1e6;
        let found = |prefill| by_token(&row(prefill), &tokens).map(round);
        assert_eq!(found(PrefillReading::Masked), [0.14, 1.2]);
        // The first token of each comes from all layers.
        assert_eq!(found(PrefillReading::Full), [0.1, 1.2]);
        let shares = |prefill| {
            let shares = with_first(&row(prefill), &tokens).into_iter();
            shares.map(round).collect::<Vec<_>>()
        };
        assert_eq!(shares(PrefillReading::Masked), [0.3, 0.1]);
        assert_eq!(shares(PrefillReading::Full), [0.15, 0.0875]);
    }

    /// One column is of one policy: a row that the first routers cannot be held against is not held against the second.
    #[test]
    fn all_rows_are_held_against_the_first_routers() {
        let row = |policy: &str, routed, prefill| Row {
            policy: policy.to_owned(),
            adapter: None,
            routed,
            prefill,
            answers: Vec::new(),
        };
        let [full, masked] = [PrefillReading::Full, PrefillReading::Masked];
        let rows = [
            row("a@9%", true, full),
            row("b@9%", true, masked),
            row("one@9%", false, full),
            row("two@9%", false, masked),
        ];
        let found = rows.each_ref().map(|row| {
            let beside = routed_beside(row, &rows, &|_| 0.09);
            beside.map(|other| other.policy.as_str())
        });
        assert_eq!(found, [None, None, Some("a@9%"), None]);
    }

    #[test]
    fn distances_are_means_over_pairs_of_answers() {
        let answer = |mask: &str| Measured {
            masks: vec![mask.to_owned()],
            skipped: 0.0,
            loss: 0.0,
            answers: Vec::new(),
        };
        let row = Row {
            policy: "routed".to_owned(),
            adapter: None,
            routed: true,
            prefill: PrefillReading::Masked,
            answers: ["1", "1,2", "1", "3"].map(answer).to_vec(),
        };
        let tasks = ["a", "a", "a", "b"].map(str::to_owned);
        let found = distances(&row, &Bootstrap::new(&tasks, 1), 4).expect("masks");
        let mean = |a: &str, b: &str| {
            let pair = found
                .iter()
                .find(|pair| (pair.0.as_str(), pair.1.as_str()) == (a, b));
            pair.expect("a pair").2
        };
        // Of three pairs one skips alike, two have half in common.
        assert_eq!(mean("a", "a"), Some(1.0 / 3.0));
        assert_eq!(mean("a", "b"), Some(1.0));
        assert_eq!(mean("b", "b"), None);
    }
}
