//! `first check`.

use super::options::{AdapterOptions, ModelOptions, load_with};
use crate::check::{NMSE, check, entries};
use std::path::PathBuf;
use std::process::ExitCode;

/// Compare the engine with exact outputs of a reference implementation.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// A folder with `reference.json` and, where recorded, logits and hidden states as `.npy`.
    folder: PathBuf,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    adapter: AdapterOptions,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.adapter.check()?;
        let entries = entries(&self.folder)?;
        let engine = load_with(&self.model, &self.adapter)?;
        let nmse = |nmse: Option<f64>| nmse.map_or("-".to_owned(), |nmse| format!("{nmse:.1e}"));
        say!(
            "{}: {} entries on {}, NMSE at most {NMSE:.0e}",
            self.folder.display(),
            entries.len(),
            engine.gpu.summary.name
        );
        say!(
            "{:>5}  {:>6}  {:>3}  {:>11}  {:>11}  {:>13}  skipped",
            "entry",
            "tokens",
            "ids",
            "logits NMSE",
            "hidden NMSE",
            "greedy tokens"
        );
        let mut failed = 0;
        for (index, entry) in entries.iter().enumerate() {
            let outcome = check(&engine, &self.folder, index, entry)?;
            let greedy = outcome
                .greedy
                .map_or("-".to_owned(), |(right, all, ties)| match ties {
                    0 => format!("{right}/{all}"),
                    _ => format!("{right}/{all} ({ties} tied)"),
                });
            let ids = if outcome.ids_equal { "=" } else { "≠" };
            let verdict = if outcome.passes() { "" } else { "  FAILED" };
            say!(
                "{index:>5}  {:>6}  {ids:>3}  {:>11}  {:>11}  {greedy:>13}  {}{verdict}",
                outcome.tokens,
                nmse(outcome.logits_nmse),
                nmse(outcome.hidden_nmse),
                if outcome.mask.is_empty() {
                    "nothing"
                } else {
                    &outcome.mask
                },
            );
            failed += usize::from(!outcome.passes());
        }
        match failed {
            0 => say!("all {} agree", entries.len()),
            _ => say!("{failed} of {} differ", entries.len()),
        }
        Ok(if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
