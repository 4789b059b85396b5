//! Results as tables, CSV and a picture.

use super::bootstrap::{Bootstrap, Interval};
use super::metrics::Metric;
use super::{Row, family, named_rate};
use crate::bench::plot::{Chart, Series, svg};
use crate::error::Result;
use crate::mask::LayerMask;
use crate::router::PrefillReading;
use crate::trace::{AdapterSummary, ModelSummary};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Policies whose rates differ by no more than this share of the layers' weights are compared, and those named after one rate.
const SAME_RATE: f64 = 0.006;

/// Everything that was measured, and what follows from it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The model.
    pub model: ModelSummary,
    /// What it ran on.
    pub device: AdapterSummary,
    /// The task of each answer.
    pub tasks: Vec<String>,
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
    /// Sums up. `references` are the answers as they should be; `seed` is the bootstrap's.
    pub fn new(
        model: ModelSummary,
        device: AdapterSummary,
        tasks: Vec<String>,
        references: &[String],
        rows: Vec<Row>,
        seed: u64,
    ) -> Result<Self> {
        let bootstrap = Bootstrap::new(&tasks, seed);
        let summarise = |row| summary(row, &rows, &bootstrap, references, model.layers);
        let summaries = rows.iter().map(summarise).collect::<Result<_>>()?;
        Ok(Self {
            model,
            device,
            tasks,
            rows,
            summaries,
        })
    }
}

fn losses(row: &Row) -> Vec<f64> {
    row.answers.iter().map(|answer| answer.loss).collect()
}

fn rates(row: &Row) -> Vec<f64> {
    row.answers.iter().map(|answer| answer.skipped).collect()
}

fn summary(
    row: &Row,
    rows: &[Row],
    bootstrap: &Bootstrap,
    references: &[String],
    layers: usize,
) -> Result<Summary> {
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
            let scores = Metric::of_task(task).iter().filter_map(|metric| {
                let counts = counts(*metric, row, references)?;
                let score = |tasks: &[Vec<usize>]| metric.score(&sum(&counts, &tasks[index]));
                Some((*metric, bootstrap.interval(score)))
            });
            TaskSummary {
                task: task.to_owned(),
                answers: answers.len(),
                skipped: mean(&rates(row)),
                masks: masks_of(answers),
                loss: bootstrap.interval(|tasks| {
                    let sum: f64 = tasks[index].iter().map(|answer| own[*answer]).sum();
                    sum / tasks[index].len() as f64
                }),
                scores: scores.collect(),
            }
        });
    let all: Vec<usize> = (0..row.answers.len()).collect();
    let base = base(row, rows).filter(|base| !std::ptr::eq(*base, row));
    let routed = routed_beside(row, rows, &skipped);
    Ok(Summary {
        policy: row.policy.clone(),
        adapter: row.adapter.clone(),
        prefill: row.prefill,
        skipped: skipped(row),
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
            distances(row, bootstrap, layers)?
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
    let first = family(&rows.iter().find(comparable)?.policy);
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

/// The counts of each answer, over the masks whose mean is measured; `None` where nothing was answered.
fn counts(metric: Metric, row: &Row, references: &[String]) -> Option<Vec<Vec<f64>>> {
    let of = |(answer, reference): (&super::Measured, &String)| {
        let each = answer
            .answers
            .iter()
            .map(|text| metric.counts(text, reference));
        each.reduce(|a, b| a.iter().zip(b).map(|(a, b)| a + b).collect())
            .unwrap_or_default()
    };
    let counts: Vec<_> = row.answers.iter().zip(references).map(of).collect();
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
    let parse = |answer: &super::Measured| LayerMask::parse(&answer.masks[0], layers);
    let masks = row.answers.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let tasks: Vec<_> = bootstrap.tasks().collect();
    let mut found = Vec::new();
    for (first, (name, own)) in tasks.iter().enumerate() {
        for (second, (other, others)) in tasks.iter().enumerate().skip(first) {
            let pairs = own
                .iter()
                .flat_map(|a| others.iter().map(move |b| (*a, *b)))
                .filter(|(a, b)| first != second || a < b);
            let distances: Vec<f64> = pairs.map(|(a, b)| masks[a].distance(&masks[b])).collect();
            let mean = distances.iter().sum::<f64>() / distances.len() as f64;
            found.push((
                (*name).to_owned(),
                (*other).to_owned(),
                (!distances.is_empty()).then_some(mean),
            ));
        }
    }
    Ok(found)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn percents(interval: &Interval) -> String {
    let Interval { value, low, high } = interval;
    format!(
        "{:+.1} % ({:+.1} to {:+.1})",
        100.0 * value,
        100.0 * low,
        100.0 * high
    )
}

impl Summary {
    fn adapter(&self) -> &str {
        self.adapter.as_deref().unwrap_or("-")
    }
}

impl Report {
    /// Tables in Markdown: all tasks together, the losses by task, scores, and the masks of routed policies.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        let tasks: Vec<&str> = self.summaries.first().map_or(Vec::new(), |first| {
            first.tasks.iter().map(|task| task.task.as_str()).collect()
        });
        line(format!(
            "{} on {} ({}): {} answers of {} tasks. Loss in nats a token, macro mean over the tasks; intervals hold 95 %, by bootstrap over the answers of each task.",
            self.model.name,
            self.device.name,
            self.device.driver,
            self.tasks.len(),
            tasks.len()
        ));
        line(String::new());
        line("| policy | adapter | weights skipped | masks | loss | perplexity | loss against none | routed against it |".to_owned());
        line("|---|---|---|---|---|---|---|---|".to_owned());
        for row in &self.summaries {
            let Interval { value, low, high } = row.loss;
            line(format!(
                "| {} | {} | {} | {} | {value:.3} ({low:.3} to {high:.3}) | {:.2} | {} | {} |",
                row.policy,
                row.adapter(),
                percent(row.skipped),
                row.masks,
                value.exp(),
                row.against_none.as_ref().map_or("-".to_owned(), percents),
                row.routed_against_it
                    .as_ref()
                    .map_or("-".to_owned(), |(_, change)| percents(change)),
            ));
        }
        let whole = self.summaries.iter().filter(|row| !row.prefill.is_masked());
        let whole: BTreeSet<String> = whole.map(|row| format!("`{}`", row.policy)).collect();
        if !whole.is_empty() {
            let names = Vec::from_iter(whole).join(", ");
            line(String::new());
            line(format!(
                "With {names} every layer reads the prompt, and what is skipped is skipped for the answer alone; with others for the prompt too."
            ));
        }
        line(String::new());
        line(format!("| loss | adapter | {} |", tasks.join(" | ")));
        line(format!("|---|---|{}", "---|".repeat(tasks.len())));
        for row in &self.summaries {
            let cells = row
                .tasks
                .iter()
                .map(|task| format!(" {:.3} |", task.loss.value));
            line(format!(
                "| {} | {} |{}",
                row.policy,
                row.adapter(),
                cells.collect::<String>()
            ));
        }
        if let Some(text) = self.scores() {
            line(text);
        }
        for row in self
            .summaries
            .iter()
            .filter(|row| !row.distances.is_empty())
        {
            line(masks(row, &tasks));
        }
        out
    }

    fn scores(&self) -> Option<String> {
        let first = self.summaries.first()?;
        let heads = first.tasks.iter().flat_map(|task| {
            task.scores
                .iter()
                .map(|(metric, _)| format!("{}, {}", task.task, metric.name()))
        });
        let heads: Vec<String> = heads.collect();
        if heads.is_empty() {
            return None;
        }
        let mut out = format!(
            "\n| score | adapter | {} |\n|---|---|{}\n",
            heads.join(" | "),
            "---|".repeat(heads.len())
        );
        for row in &self.summaries {
            let scores = row.tasks.iter().flat_map(|task| &task.scores);
            let cells: String = scores
                .map(|(_, Interval { value, low, high })| {
                    format!(" {value:.1} ({low:.1} to {high:.1}) |")
                })
                .collect();
            out += &format!("| {} | {} |{cells}\n", row.policy, row.adapter());
        }
        out.pop();
        Some(out)
    }

    /// A line for each policy and task, and one for all tasks.
    pub fn csv(&self) -> String {
        let mut out = "policy,adapter,task,answers,skipped,masks,loss,low,high,scores\n".to_owned();
        let mut line = |row: &Summary,
                        task: &str,
                        answers: usize,
                        skipped: f64,
                        masks: usize,
                        loss: &Interval,
                        scores: &str| {
            let adapter = row.adapter.as_deref().unwrap_or_default();
            let Interval { value, low, high } = loss;
            out += &format!(
                "{},{},{},{answers},{skipped:.6},{masks},{value:.6},{low:.6},{high:.6},{scores}\n",
                field(&row.policy),
                field(adapter),
                field(task)
            );
        };
        for row in &self.summaries {
            line(
                row,
                "",
                self.tasks.len(),
                row.skipped,
                row.masks,
                &row.loss,
                "",
            );
            for task in &row.tasks {
                let score = |(metric, score): &(Metric, Interval)| {
                    format!("{}={:.4}", metric.name(), score.value)
                };
                let scores: Vec<String> = task.scores.iter().map(score).collect();
                line(
                    row,
                    &task.task,
                    task.answers,
                    task.skipped,
                    task.masks,
                    &task.loss,
                    &scores.join(";"),
                );
            }
        }
        out
    }

    /// Loss against the share of weights skipped, with adapters and without: a line for each policy, which is a name up to `@`.
    pub fn svg(&self) -> String {
        let mut series: BTreeMap<(bool, &str), Vec<(f64, f64)>> = BTreeMap::new();
        for row in &self.summaries {
            let name = family(&row.policy);
            let points = series.entry((row.adapter.is_some(), name)).or_default();
            points.push((100.0 * row.skipped, row.loss.value));
        }
        let names: BTreeSet<&str> = series.keys().map(|(_, name)| *name).collect();
        let chart = |with: bool| {
            let of = |name: &&str| {
                let mut points = series.get(&(with, *name)).cloned().unwrap_or_default();
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                points
            };
            let series: Vec<Series<'_>> = names
                .iter()
                .map(|name| Series {
                    name,
                    points: of(name),
                })
                .collect();
            Chart {
                title: match with {
                    true => "loss with LoRA, nats a token",
                    false => "loss, nats a token",
                },
                x_label: "% of the layers' weights skipped",
                series,
                line: None,
                from_zero: false,
            }
        };
        let any = |with: &bool| series.keys().any(|(adapter, _)| adapter == with);
        let charts = [false, true].into_iter().filter(any).map(chart);
        svg(&charts.collect::<Vec<_>>())
    }
}

/// The masks of a routed policy by task, and the distances between them.
fn masks(row: &Summary, tasks: &[&str]) -> String {
    let mut out = format!("\nMasks of {}", row.policy);
    if let Some(adapter) = &row.adapter {
        write!(out, " with {adapter}").expect("a string takes everything");
    }
    out += &format!(
        "; mean Jaccard distance of two answers' masks, 0 where they skip the same:\n\n| task | weights skipped | masks | {} |\n|---|---|---|{}\n",
        tasks.join(" | "),
        "---|".repeat(tasks.len())
    );
    for task in &row.tasks {
        let cells = tasks.iter().map(|other| {
            let pair = [task.task.as_str(), other];
            let found = row.distances.iter().find(|(a, b, _)| {
                [a.as_str(), b.as_str()] == pair || [b.as_str(), a.as_str()] == pair
            });
            let distance = found.and_then(|(_, _, distance)| *distance);
            distance.map_or(" - |".to_owned(), |distance| format!(" {distance:.2} |"))
        });
        let cells: String = cells.collect();
        out += &format!(
            "| {} | {} | {} |{cells}\n",
            task.task,
            percent(task.skipped),
            task.masks
        );
    }
    out.pop();
    out
}

/// A field of a CSV line.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
