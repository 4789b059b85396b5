//! `first train`.

mod labels;
mod run;

use super::options::tell_of_cuts;
use super::progress::{count_bar, with_bar};
use crate::adapter::LoraAdapter;
use crate::data::{self, Example};
use crate::engine::Engine;
use crate::error::Result;
use crate::file::Staged;
use crate::mask::LayerMask;
use crate::router::file::RouterFile;
use crate::router::{Router, THRESHOLD};
use crate::train::run::Tasks;
use crate::train::{checkpoint, masks_at};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Thresholds of a calibration.
const THRESHOLDS: [f32; 5] = [0.1, 0.3, THRESHOLD, 0.7, 0.9];

/// Train what decides which layers run.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Train {
    /// Search a mask for each task, and fit routers that tell the tasks apart. Forward passes only.
    Labels(Box<labels::Labels>),
    /// Train routers end to end through the model, which stays as it is.
    Routers(Box<run::Routers>),
    /// Train routers and low-rank updates (LoRA) at once; then the routers freeze and the updates go on.
    Joint(Box<run::Joint>),
    /// Train low-rank updates (LoRA) for layers that routers or a mask leave.
    Lora(Box<run::Lora>),
}

impl Train {
    /// Whether what is done is kept as it comes.
    pub(super) fn keeps(&self) -> bool {
        !matches!(self, Self::Labels(command) if command.is_short())
    }

    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Labels(command) => command.run(),
            Self::Routers(command) => command.run(),
            Self::Joint(command) => command.run(),
            Self::Lora(command) => command.run(),
        }
    }
}

/// The masks that routers give the prompts of calibration texts, task by task, at each of [`THRESHOLDS`].
fn calibration_masks(
    engine: &mut Engine,
    router: &Router,
    held_out: &Tasks,
    interrupted: &AtomicBool,
) -> Result<Vec<Vec<LayerMask>>> {
    let texts = held_out.values().flatten();
    let prompts: Vec<Vec<u32>> = texts.map(|text| text.prompt().to_vec()).collect();
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    engine.set_router(router)?;
    let decision = router.decision();
    with_bar("calibrating", interrupted, |progress| {
        masks_at(engine, &prompts, &decision, &THRESHOLDS, progress)
    })
}

/// The examples of some files. With `skip_bad`, lines that are none are told and left out.
fn read(paths: &[PathBuf], skip_bad: bool) -> anyhow::Result<Vec<Example>> {
    let mut examples = Vec::new();
    for path in paths {
        let found = data::read_with(path, &mut |error| {
            if !skip_bad {
                return Err(error);
            }
            tell!("left out: {error}");
            Ok(())
        })?;
        examples.extend(found);
    }
    Ok(examples)
}

/// Up to `most` examples of each task as at most `longest` token ids, spread evenly: of those that `skip_bad` leaves, which
/// tells of prompts that leave no room for an answer.
fn tasks(
    engine: &Engine,
    examples: &[Example],
    [longest, most]: [usize; 2],
    skip_bad: bool,
) -> anyhow::Result<Tasks> {
    let bar = count_bar("reading examples");
    let mut tasks = Tasks::new();
    for (task, examples) in data::by_task(examples) {
        let chosen = if skip_bad {
            let longest = longest.min(engine.model.config.context);
            let mut good = Vec::new();
            for example in examples {
                bar.inc(1);
                match example.cut(example.whole(engine)?, longest) {
                    Ok(text) => good.push(text),
                    Err(error) => tell!("left out: {error}"),
                }
            }
            anyhow::ensure!(
                !good.is_empty(),
                "no example of task `{}` is left; allow longer ones with `--tokens N`",
                data::task_name(&task)
            );
            data::spread(&good, most).cloned().collect()
        } else {
            let texts = data::spread(&examples, most).map(|example| {
                bar.inc(1);
                example.tokens(engine, longest)
            });
            texts.collect::<Result<Vec<_>, _>>()?
        };
        tasks.insert(task, chosen);
    }
    bar.finish_and_clear();
    tell_of_cuts(engine, tasks.values().flatten());
    Ok(tasks)
}

/// A folder where no run was made or is being made, whose routers would be lost.
pub(super) fn no_run_in(folder: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        !folder.join(checkpoint::FILE).exists(),
        "{} holds a run of `first train`; give another `--out`",
        folder.display()
    );
    Ok(())
}

/// Writes routers and the adapter that was trained with them; no file is put in its place before all are written.
fn save(
    folder: &Path,
    adapter: Option<&LoraAdapter>,
    routers: &RouterFile,
    engine: &Engine,
) -> anyhow::Result<()> {
    let adapter = adapter.map(|adapter| adapter.stage(folder, &engine.model.config));
    let adapter = adapter.transpose()?;
    let routers = routers.stage(folder)?;
    adapter.map_or(Ok(()), Staged::put)?;
    routers.put()?;
    Ok(())
}

/// What a mask skips, for people.
fn skipping(mask: &LayerMask, share: f64) -> String {
    if mask.is_full() {
        "skipping nothing".to_owned()
    } else {
        format!(
            "skipping {mask}, {:.1} % of the layers' weights",
            100.0 * share
        )
    }
}

/// The command for others to read: of paths that say where they lie their last part alone, since router files are given
/// away.
fn command_line(arguments: impl Iterator<Item = OsString>) -> String {
    let told = |value: &str| {
        let path = Path::new(value);
        let up = path.components().any(|part| part == Component::ParentDir);
        let placed = path.is_absolute() || up || path.exists();
        let name = path.file_name().filter(|_| placed);
        name.map_or(value.to_owned(), |name| name.to_string_lossy().into_owned())
    };
    let shown = |argument: OsString| match argument.to_string_lossy().split_once('=') {
        Some((option, value)) if option.starts_with("--") => format!("{option}={}", told(value)),
        _ => {
            let argument = argument.to_string_lossy();
            // `-mFILE` or `-m=FILE`.
            let short = argument.starts_with('-') && !argument.starts_with("--");
            match argument.char_indices().nth(2).filter(|_| short) {
                Some((at, '=')) => format!("{}{}", &argument[..=at], told(&argument[at + 1..])),
                Some((at, _)) => format!("{}{}", &argument[..at], told(&argument[at..])),
                None => told(&argument),
            }
        }
    };
    arguments.map(shown).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_no_folders() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let new = std::env::temp_dir().join("not/yet");
        let arguments = [
            "train".to_owned(),
            format!("--data={}", file.display()),
            "--out".to_owned(),
            new.display().to_string(),
            "../x".to_owned(),
            "a/b".to_owned(),
            format!("-m{}", file.display()),
            format!("-m={}", file.display()),
            "-m/a/b=c.gguf".to_owned(),
            "-n16".to_owned(),
            "-".to_owned(),
        ];
        let shown = command_line(arguments.map(OsString::from).into_iter());
        let shorts = "-mCargo.toml -m=Cargo.toml -mb=c.gguf -n16 -";
        assert_eq!(
            shown,
            format!("train --data=Cargo.toml --out yet x a/b {shorts}")
        );
    }
}
