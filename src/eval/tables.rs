//! Results as tables in Markdown, as CSV and as a picture.

use super::bootstrap::Interval;
use super::family;
use super::metrics::Metric;
use super::report::{Report, Summary};
use crate::bench::plot::{Chart, Series, svg};
use crate::data::task_name;
use crate::file::csv_field;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Policies in the order of their colours, the same in all pictures.
const COLOURED: [&str; 7] = [
    "routed",
    "greedy",
    "learned",
    "block-influence",
    "even",
    "random",
    "none",
];

/// So few answers drawn again say little of others; of one they say nothing.
const FEW_ANSWERS: usize = 5;

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
        let of_tasks = self.summaries.first().map_or(&[][..], |first| &first.tasks);
        let tasks: Vec<&str> = of_tasks.iter().map(|task| task_name(&task.task)).collect();
        line(format!(
            "{} on {} ({}): {} answers of {} tasks. Loss in nats a token, macro mean over the tasks; intervals hold 95 %, by bootstrap over the answers of each task.",
            self.model.name,
            self.gpu.name,
            self.gpu.driver,
            self.tasks.len(),
            tasks.len()
        ));
        let few = of_tasks.iter().filter(|task| task.answers < FEW_ANSWERS);
        let few: Vec<_> = few
            .map(|task| format!("`{}`", task_name(&task.task)))
            .collect();
        if !few.is_empty() {
            line(format!(
                "The intervals are too narrow: of {} there are fewer than {FEW_ANSWERS} answers.",
                few.join(", ")
            ));
        }
        line(String::new());
        line("| policy | adapter | weights skipped | masks | loss | perplexity | by token | loss against none | routed against it |".to_owned());
        line("|---|---|---|---|---|---|---|---|---|".to_owned());
        for row in &self.summaries {
            let Interval { value, low, high } = row.loss;
            line(format!(
                "| {} | {} | {} | {} | {value:.3} ({low:.3} to {high:.3}) | {:.2} | {:.1} %, {:.3} | {} | {} |",
                row.policy,
                row.adapter(),
                percent(row.skipped),
                row.masks,
                value.exp(),
                100.0 * row.skipped_by_token,
                row.loss_by_token,
                row.against_none.as_ref().map_or("-".to_owned(), percents),
                row.routed_against_it
                    .as_ref()
                    .map_or("-".to_owned(), |(_, change)| percents(change)),
            ));
        }
        let whole = self.summaries.iter().filter(|row| !row.prefill.is_masked());
        let whole: Vec<&Summary> = whole.collect();
        let share = |row: &&Summary| {
            // With another adapter routers may choose otherwise.
            let rows = whole.iter().filter(|other| other.policy == row.policy);
            let with = row.adapter.as_ref().filter(|_| rows.count() > 1);
            let with = with.map_or(String::new(), |adapter| format!(" with {adapter}"));
            format!(
                "`{}`{with} {:.1} %",
                row.policy,
                100.0 * row.skipped_with_first
            )
        };
        let shares: BTreeSet<String> = whole.iter().map(share).collect();
        if !shares.is_empty() {
            let shares = Vec::from_iter(shares).join(", ");
            let masked = |row: &Summary| row.prefill.is_masked() && row.skipped > 0.0;
            let others = if self.summaries.iter().any(masked) {
                " Masks of others concern the prompt too."
            } else {
                ""
            };
            line(String::new());
            line(format!(
                "Where every layer reads the prompt, an answer's first token comes from all of them. With it counted these policies skip: {shares}.{others}"
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
            line(masks(row));
        }
        out
    }

    fn scores(&self) -> Option<String> {
        // In the order of the tasks, whichever rows have some.
        let tasks = self.summaries.first().map_or(&[][..], |first| &first.tasks);
        let heads = tasks.iter().enumerate().flat_map(|(index, task)| {
            let of_rows = self
                .summaries
                .iter()
                .map(move |row| &row.tasks[index].scores);
            let scores = of_rows.max_by_key(|scores| scores.len());
            let metrics = scores.into_iter().flatten().map(|(metric, _)| *metric);
            metrics.map(move |metric| (index, task_name(&task.task), metric))
        });
        let heads: Vec<_> = heads.collect();
        if heads.is_empty() {
            return None;
        }
        let names = heads
            .iter()
            .map(|(_, task, metric)| format!("{task}, {}", metric.name()));
        let mut out = format!(
            "\n| score | adapter | {} |\n|---|---|{}\n",
            names.collect::<Vec<_>>().join(" | "),
            "---|".repeat(heads.len())
        );
        for row in &self.summaries {
            let cells = heads.iter().map(|(index, _, metric)| {
                let mut scores = row.tasks[*index].scores.iter();
                let score = scores.find(|(own, _)| own == metric);
                score.map_or(" - |".to_owned(), |(_, Interval { value, low, high })| {
                    format!(" {value:.1} ({low:.1} to {high:.1}) |")
                })
            });
            let cells: String = cells.collect();
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
                csv_field(&row.policy),
                csv_field(adapter),
                csv_field(task)
            );
        };
        for row in &self.summaries {
            line(
                row,
                "mean over tasks",
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
                    task_name(&task.task),
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
        // Without adapters, and with.
        let mut curves: [BTreeMap<&str, Vec<(f64, f64)>>; 2] = Default::default();
        for row in &self.summaries {
            let curves = &mut curves[usize::from(row.adapter.is_some())];
            let points = curves.entry(family(&row.policy)).or_default();
            points.push((100.0 * row.skipped, row.loss.value));
        }
        for points in curves.iter_mut().flat_map(BTreeMap::values_mut) {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        // Beside others the plain model alone is no curve.
        let [without, with] = &mut curves;
        if !with.is_empty() && without.keys().all(|name| *name == "none") {
            without.clear();
        }
        let names = coloured(curves.iter().flat_map(BTreeMap::keys).copied().collect());
        let titles = ["loss, nats a token", "loss with LoRA, nats a token"];
        let charts = titles.into_iter().zip(&curves);
        let charts = charts.filter(|(_, curves)| !curves.is_empty());
        let charts = charts.map(|(title, curves)| Chart {
            title,
            x_label: "% of the layers' weights skipped",
            series: names
                .iter()
                .map(|name| Series {
                    name,
                    points: curves.get(name).cloned().unwrap_or_default(),
                })
                .collect(),
            line: None,
            from_zero: false,
        });
        svg(&charts.collect::<Vec<_>>())
    }
}

/// Names in the order of the colours that they get: those of [`COLOURED`] have their own, others the colours that are left
/// over.
fn coloured(mut names: BTreeSet<&str>) -> Vec<&str> {
    let own = COLOURED.map(|name| names.take(name));
    let mut others = names.into_iter();
    // A place without a name draws nothing.
    let mut places: Vec<&str> = own
        .into_iter()
        .map(|own| own.or_else(|| others.next()).unwrap_or_default())
        .collect();
    places.extend(others);
    places
}

/// The masks of a routed policy by task, and the distances between them.
fn masks(row: &Summary) -> String {
    let names: Vec<&str> = row.tasks.iter().map(|task| task_name(&task.task)).collect();
    let mut out = format!("\nMasks of {}", row.policy);
    if let Some(adapter) = &row.adapter {
        write!(out, " with {adapter}").expect("a string takes everything");
    }
    out += &format!(
        "; mean Jaccard distance of two answers' masks, 0 where they skip the same:\n\n| task | weights skipped | masks | {} |\n|---|---|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for task in &row.tasks {
        let cells = row.tasks.iter().map(|other| {
            let pair = [&task.task, &other.task].map(String::as_str);
            let found = row.distances.iter().find(|(a, b, _)| {
                [a.as_str(), b.as_str()] == pair || [b.as_str(), a.as_str()] == pair
            });
            let distance = found.and_then(|(_, _, distance)| *distance);
            distance.map_or(" - |".to_owned(), |distance| format!(" {distance:.2} |"))
        });
        let cells: String = cells.collect();
        out += &format!(
            "| {} | {} | {} |{cells}\n",
            task_name(&task.task),
            percent(task.skipped),
            task.masks
        );
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_keep_their_colours_and_others_take_what_is_free() {
        let places = |names: &[&'static str]| coloured(names.iter().copied().collect());
        let place = |names: &[&'static str], name| {
            let places = places(names);
            places.iter().position(|found| *found == name)
        };
        for names in [&["none", "routed"][..], &["even", "none", "routed", "mine"]] {
            assert_eq!(place(names, "routed"), Some(0));
            assert_eq!(place(names, "none"), Some(6));
        }
        assert_eq!(place(&["routed", "mine"], "mine"), Some(1));
        let mut all = COLOURED.to_vec();
        all.push("mine");
        assert_eq!(place(&all, "mine"), Some(7));
    }
}
