//! `first eval show`.

use super::publish;
use crate::eval::saved::Saved;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// What `--out` has saved as eval.json.
    file: PathBuf,
    /// More of these, of the same answers: rows of all are held against each other.
    #[arg(value_name = "FILE")]
    others: Vec<PathBuf>,
    /// Write the tables to this folder too, as eval.md, eval.csv, eval.json and eval.svg.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of the bootstrap; intervals of scores stay as they are.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Show {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut all = Saved::read(&self.file)?;
        for path in &self.others {
            all.join(path)?;
        }
        publish(&all.report(self.seed)?, self.out.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}
