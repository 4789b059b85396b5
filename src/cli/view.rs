//! `first view`.

use anyhow::Context;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// Open the viewer.
#[derive(Debug, clap::Args)]
pub(super) struct View {
    /// What `first-viewer` is given: a session, `--router DIR`, `--export FILE` (see `first view -- --help`).
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    arguments: Vec<OsString>,
}

impl View {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // The viewer is a program of its own, so that `first` needs no window system.
        let name = format!("first-viewer{}", std::env::consts::EXE_SUFFIX);
        let own = std::env::current_exe().context("this program cannot tell where it lies")?;
        let beside = own.with_file_name(&name);
        let program = if beside.exists() { beside } else { name.into() };
        let status = Command::new(&program).args(&self.arguments).status();
        let status = status.map_err(|error| {
            anyhow::anyhow!(
                "{} could not be started: {error}; build it with `cargo build --release -p first-viewer` and keep it beside `first`",
                program.display()
            )
        })?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }
}
