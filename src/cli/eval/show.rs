//! `first eval show`.

use super::publish;
use crate::error::{Error, Result};
use crate::eval::report::Report;
use crate::eval::{Measured, Row};
use crate::file::read_at_most;
use crate::mask::LayerMask;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// What `--out` has saved as eval.json. Rows of several files, of the same answers, are held against each other.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the tables to this folder too, as eval.md, eval.csv, eval.json and eval.svg.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of the bootstrap; intervals of scores stay as they are.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Show {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let reports = self.files.iter().map(|path| saved(path));
        let report = Report::joined(reports.collect::<Result<_>>()?, self.seed)?;
        publish(&report, self.out.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A report that `--out` has saved. Someone else may have made the file.
fn saved(path: &Path) -> Result<Report> {
    /// More than a hundred policies of a thousand answers take, with what the model said.
    const MOST_BYTES: u64 = 1 << 28;
    let remedy = "write one with `first eval --out DIR`, which saves DIR/eval.json";
    let refused = |what: String| Error::file(path, format!("is no saved report: {what}"), remedy);
    let text = read_at_most(path, MOST_BYTES, remedy)?;
    let report: Report = serde_json::from_slice(&text).map_err(|e| refused(e.to_string()))?;
    match fault(&report) {
        Some(what) => Err(refused(what)),
        None => Ok(report),
    }
}

/// What tables cannot be made of.
fn fault(report: &Report) -> Option<String> {
    /// As the longest text that is measured.
    const MOST_TOKENS: usize = 1 << 16;
    /// Each is drawn thousands of times.
    const MOST_ANSWERS: usize = 1 << 14;
    let (answers, rows) = (report.tasks.len(), &report.rows);
    if !(1..=MOST_ANSWERS).contains(&answers) || report.tokens.len() != answers {
        return Some(format!(
            "expected tasks and tokens of 1 to {MOST_ANSWERS} answers"
        ));
    }
    if report.tokens.iter().any(|tokens| *tokens > MOST_TOKENS) {
        return Some(format!("an answer has more than {MOST_TOKENS} tokens"));
    }
    let whole = |row: &Row| row.answers.len() == answers;
    if rows.is_empty() || !rows.iter().all(whole) || report.summaries.len() != rows.len() {
        return Some("expected rows of all answers, each with its summary".to_owned());
    }
    let model = &report.model;
    if [&model.attn_bytes, &model.mlp_bytes].map(Vec::len) != [model.layers; 2] {
        return Some("expected the bytes of each layer".to_owned());
    }
    let mask = |text: &String| LayerMask::parse(text, model.layers).is_ok();
    let masks = |answer: &Measured| !answer.masks.is_empty() && answer.masks.iter().all(mask);
    if !rows.iter().flat_map(|row| &row.answers).all(masks) {
        return Some(format!("an answer has no mask of {} layers", model.layers));
    }
    let names = rows
        .iter()
        .flat_map(|row| [Some(&row.policy), row.adapter.as_ref()]);
    let device = &report.device;
    let names = names.flatten().chain(&report.tasks);
    let mut names = names.chain([&model.name, &device.name, &device.driver]);
    names
        .any(|name| name.contains(char::is_control))
        .then(|| "a name holds a control character".to_owned())
}
