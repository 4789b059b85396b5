//! `first train`.

mod labels;
mod run;

use crate::data::{self, Example};
use std::path::PathBuf;
use std::process::ExitCode;

/// Train what decides which layers run.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Train {
    /// Search a mask for each task, and fit routers that tell the tasks apart. Forward passes only.
    Labels(labels::Labels),
    /// Train routers end to end through the model, which stays as it is.
    Routers(Box<run::Routers>),
    /// Train routers and low-rank updates (LoRA) at once; then the routers freeze and the updates go on.
    Joint(Box<run::Joint>),
    /// Train low-rank updates (LoRA) for layers that routers or a mask leave.
    Lora(Box<run::Lora>),
}

impl Train {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Labels(command) => command.run(),
            Self::Routers(command) => command.run(),
            Self::Joint(command) => command.run(),
            Self::Lora(command) => command.run(),
        }
    }
}

/// The examples of some files. With `skip_bad`, lines that are none are told and left out.
fn read(paths: &[PathBuf], skip_bad: bool) -> anyhow::Result<Vec<Example>> {
    let mut examples = Vec::new();
    for path in paths {
        let found = data::read_with(path, &mut |error| {
            if !skip_bad {
                return Err(error);
            }
            eprintln!("left out: {error}");
            Ok(())
        })?;
        examples.extend(found);
    }
    Ok(examples)
}
