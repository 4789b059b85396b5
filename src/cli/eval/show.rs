//! `first eval show`.

use super::publish;
use crate::error::{Error, Result};
use crate::eval::saved::Saved;
use std::path::PathBuf;
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
        let mut all: Option<Saved> = None;
        for path in &self.files {
            let saved = Saved::read(path)?;
            match &mut all {
                None => all = Some(saved),
                Some(all) => {
                    let joined = all.join(saved);
                    joined.map_err(|[what, remedy]| Error::file(path, what, remedy))?;
                }
            }
        }
        let report = all.map(|all| all.report(self.seed)).transpose()?;
        let report: Result<_> = report.ok_or_else(|| Error::input("no file", "give one"));
        publish(&report?, self.out.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}
