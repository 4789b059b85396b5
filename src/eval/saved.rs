//! Results that were saved: read again, checked, and held against each other.

use super::bootstrap::Interval;
use super::metrics::Metric;
use super::report::Report;
use super::{Measured, Row};
use crate::error::{Error, Result};
use crate::file::read_at_most;
use crate::mask::{LayerMask, MOST_LAYERS};
use crate::trace::{GpuSummary, ModelSummary};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// More than a hundred policies of a thousand answers take, with what the model said.
const MOST_BYTES: u64 = 1 << 28;
/// Each is drawn thousands of times.
const MOST_ANSWERS: usize = 1 << 14;
/// Tables hold each against each.
const MOST_TASKS: usize = 100;
/// The most tokens of an answer: the longest that is measured has fewer.
const MOST_TOKENS: usize = 1 << 16;
const REMEDY: &str = "write one with `first eval --out DIR`, which saves DIR/eval.json";

/// What a report is summed up from again.
#[derive(Debug, Deserialize)]
pub struct Saved {
    model: ModelSummary,
    gpu: GpuSummary,
    tasks: Vec<String>,
    tokens: Vec<usize>,
    rows: Vec<Row>,
    summaries: Vec<Scored>,
}

/// The part of a summary that is made from words, which no report keeps.
#[derive(Debug, Deserialize)]
struct Scored {
    policy: String,
    adapter: Option<String>,
    tasks: Vec<ScoredTask>,
}

#[derive(Debug, Deserialize)]
struct ScoredTask {
    task: String,
    scores: Vec<(Metric, Interval)>,
}

/// What is too much for a table, of which one is saved.
pub fn too_much(answers: usize, tasks: usize) -> Option<String> {
    if answers > MOST_ANSWERS {
        return Some(format!(
            "a table is of at most {MOST_ANSWERS} answers, found {answers}"
        ));
    }
    let much = tasks > MOST_TASKS;
    much.then(|| format!("a table is of at most {MOST_TASKS} tasks, found {tasks}"))
}

impl Saved {
    /// Reads what `first eval --out` saves as eval.json. Someone else may have made the file.
    pub fn read(path: &Path) -> Result<Self> {
        let refused =
            |what: String| Error::file(path, format!("is no saved report: {what}"), REMEDY);
        let text = read_at_most(path, MOST_BYTES, REMEDY)?;
        let saved: Self = serde_json::from_slice(&text).map_err(|e| refused(e.to_string()))?;
        match saved.fault() {
            Some(what) => Err(refused(what)),
            None => Ok(saved),
        }
    }

    /// What tables cannot be made of.
    fn fault(&self) -> Option<String> {
        let (answers, rows) = (self.tasks.len(), &self.rows);
        if answers == 0 || self.tokens.len() != answers {
            return Some("expected tasks and tokens of one answer or more".to_owned());
        }
        let tasks: BTreeSet<&String> = self.tasks.iter().collect();
        if let Some(what) = too_much(answers, tasks.len()) {
            return Some(what);
        }
        if self.tokens.iter().any(|tokens| *tokens > MOST_TOKENS) {
            return Some(format!("an answer has more than {MOST_TOKENS} tokens"));
        }
        let whole = |row: &Row| row.answers.len() == answers;
        if rows.is_empty() || !rows.iter().all(whole) {
            return Some("expected rows of all answers".to_owned());
        }
        let model = &self.model;
        let layers = model.layers.min(MOST_LAYERS);
        if [model.layers, model.attn_bytes.len(), model.mlp_bytes.len()] != [layers; 3] {
            return Some(format!(
                "expected the bytes of each of at most {MOST_LAYERS} layers"
            ));
        }
        let measured = || rows.iter().flat_map(|row| &row.answers);
        let sound = |answer: &Measured| {
            let numbers = answer.loss >= 0.0 && answer.loss < 1e6;
            numbers && (0.0..=1.0).contains(&answer.skipped) && !answer.masks.is_empty()
        };
        if !measured().all(sound) {
            return Some("an answer has no mask, or numbers that none can have".to_owned());
        }
        // There are few, however many answers.
        let masks: BTreeSet<&String> = measured().flat_map(|answer| &answer.masks).collect();
        let mask = |text: &&String| LayerMask::parse(text, layers).is_ok();
        if !masks.iter().all(mask) {
            return Some(format!("a mask is none of {layers} layers"));
        }
        let names = rows
            .iter()
            .flat_map(|row| [Some(&row.policy), row.adapter.as_ref()]);
        let names = names.flatten().chain(tasks);
        let mut names = names.chain([&model.name, &self.gpu.name, &self.gpu.driver]);
        names
            .any(|name| name.contains(char::is_control))
            .then(|| "a name holds a control character".to_owned())
    }

    /// Takes over the rows of another file, where it is of the same answers, as far as the numbers of their tokens tell.
    pub fn join(&mut self, path: &Path) -> Result<()> {
        let other = Self::read(path)?;
        let differ = [
            (self.model != other.model, "another model"),
            (self.gpu != other.gpu, "another GPU"),
            (self.tasks != other.tasks, "other answers"),
            (self.tokens != other.tokens, "other answers"),
        ];
        if let Some((_, what)) = differ.into_iter().find(|(differs, _)| *differs) {
            let what = format!("has results of {what} than what it is to be held against");
            return Err(Error::file(path, what, "show it alone"));
        }
        for row in other.rows {
            let alike =
                |known: &&mut Row| (&known.policy, &known.adapter) == (&row.policy, &row.adapter);
            match self.rows.iter_mut().find(alike) {
                None => self.rows.push(row),
                Some(known) if !known.measures_as(&row) => {
                    let with = row
                        .adapter
                        .map_or(String::new(), |name| format!(" with {name}"));
                    let what = format!("has other results of `{}`{with}", row.policy);
                    let remedy = "measure it of the same routers, adapter and answers, or call it otherwise, as with `--router NAME=DIR`";
                    return Err(Error::file(path, what, remedy));
                }
                // What the model said is kept, if one knows; of two the first, as of scores.
                Some(known) if !known.says() && row.says() => *known = row,
                Some(_) => {}
            }
        }
        self.summaries.extend(other.summaries);
        Ok(())
    }

    /// Sums it up; `seed` is the bootstrap's. Scores have the intervals that they were saved with.
    pub fn report(self, seed: u64) -> Result<Report> {
        let scored = self.summaries;
        let report = Report {
            model: self.model,
            gpu: self.gpu,
            tasks: self.tasks,
            tokens: self.tokens,
            rows: self.rows,
            summaries: Vec::new(),
        };
        report.summed_up(seed, |row, (_, task), _| {
            let own =
                |scored: &&Scored| (&scored.policy, &scored.adapter) == (&row.policy, &row.adapter);
            let mut tasks = scored.iter().filter(own).flat_map(|scored| &scored.tasks);
            let found = tasks.find(|scored| scored.task == task && !scored.scores.is_empty());
            found.map_or_else(Vec::new, |found| found.scores.clone())
        })
    }
}

impl Row {
    /// Whether the same was skipped and lost.
    fn measures_as(&self, other: &Self) -> bool {
        let mut pairs = self.answers.iter().zip(&other.answers);
        pairs.all(|(a, b)| (&a.masks, a.skipped, a.loss) == (&b.masks, b.skipped, b.loss))
    }

    /// Whether the model was asked for answers.
    fn says(&self) -> bool {
        self.answers.iter().any(|answer| !answer.answers.is_empty())
    }
}
