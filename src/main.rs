//! `first`: language models on any GPU, without the layers that a prompt needs least.

use clap::Parser;
use first_wgpu::{Error, cli};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) if matches!(error.downcast_ref(), Some(Error::Cancelled)) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            cli::INTERRUPTED.into()
        }
        Err(error) => {
            // Where nobody listens, the exit code says it.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
