//! `first pull`.

use super::options::fetch;
use std::process::ExitCode;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    say!("{}", fetch()?.display());
    Ok(ExitCode::SUCCESS)
}
