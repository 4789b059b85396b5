//! `first trace`.

use crate::file::write_whole;
use crate::trace::{self, export};
use std::path::PathBuf;
use std::process::ExitCode;

/// Work on trace files.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Trace {
    /// Turn a trace into what other tools open.
    Export(Export),
}

/// Turn a trace into what other tools open.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// Written by `first run --trace` or `first bench --trace`.
    trace: PathBuf,
    /// Write a file for <https://ui.perfetto.dev>.
    #[arg(long, value_name = "FILE", required_unless_present = "csv")]
    perfetto: Option<PathBuf>,
    /// Write one event a line.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

impl Trace {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Export(export) = self;
        let runs = trace::read(&export.trace)?;
        let timed = runs.iter().any(|run| !run.dispatches.is_empty());
        if !timed {
            tell!(
                "note: the trace has no GPU timestamps; the GPU track shows the host's wall time per submission"
            );
        }
        if let Some(path) = &export.perfetto {
            write_whole(path, |file| export::perfetto(&runs, file))?;
        }
        if let Some(path) = &export.csv {
            write_whole(path, |file| export::csv(&runs, file))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
