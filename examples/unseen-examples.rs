//! Of the files that routers and LoRA were trained on, the examples that are new to them, to report on: `cargo run --example
//! unseen-examples -- OUT TASK.train.jsonl... --calibration TASK.calibration.jsonl...`.
//!
//! Left out is what the adapter that ships and the LoRA alone that it is compared with were trained on (`STEPS=300
//! scripts/train-default`), what the routers' masks were searched on, and what begins like one of these or like what
//! the masks were chosen by, the calibration examples: such as another question about the same passage.

use first_wgpu::data::{Example, by_task, read, spread};
use first_wgpu::file::write_whole;
use first_wgpu::train::run::drawn;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// Seeds and steps of the two runs of each: what all begin with, and what follows.
const RUNS: [(u64, u32); 2] = [(1, 320), (2, 300)];
/// Texts of each of their steps.
const BATCH: usize = 2;
/// How many examples of each task its searches choose from, and fit routers on.
const SEARCHED: usize = 48;
/// As many characters of a prompt tell it from others: enough for an instruction and the start of a passage.
const START: usize = 160;

fn start(example: &Example) -> String {
    let prompt = example
        .messages
        .iter()
        .flat_map(|message| message.content.chars());
    prompt.take(START).collect()
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(out) = arguments.next() else {
        anyhow::bail!("expected a folder to write to, and files that were trained on");
    };
    let trained = arguments
        .by_ref()
        .take_while(|argument| argument != Path::new("--calibration"));
    let trained: Vec<PathBuf> = trained.collect();
    let mut chosen_by = Vec::new();
    for path in arguments {
        chosen_by.extend(read(&path)?);
    }
    let mut files = BTreeMap::new();
    for path in trained {
        let examples = read(&path)?;
        let tasks: Vec<String> = by_task(&examples).into_keys().collect();
        let [task] = tasks.as_slice() else {
            anyhow::bail!("{}: expected examples of one task", path.display());
        };
        files.insert(task.clone(), (path, examples));
    }
    std::fs::create_dir_all(&out)?;
    let lengths: Vec<usize> = files.values().map(|(_, examples)| examples.len()).collect();
    let trained: HashSet<_> = RUNS
        .iter()
        .flat_map(|&(seed, steps)| drawn(&lengths, BATCH, seed, steps))
        .collect();
    for (index, (task, (path, examples))) in files.iter().enumerate() {
        let places: Vec<usize> = (0..examples.len()).collect();
        let searched: HashSet<_> = spread(&places, SEARCHED).copied().collect();
        let seen = |place: usize| trained.contains(&(index, place)) || searched.contains(&place);
        let seen = places.iter().filter(|&&place| seen(place));
        let mut starts: HashSet<String> = seen.map(|&place| start(&examples[place])).collect();
        let calibration = chosen_by
            .iter()
            .filter(|example| example.task.as_ref() == Some(task));
        let calibration: Vec<String> = calibration.map(start).collect();
        let alike = calibration.iter().filter(|&own| starts.contains(own));
        println!(
            "{task}: {} of {} calibration examples begin like one that was trained on or searched on",
            alike.count(),
            calibration.len()
        );
        starts.extend(calibration);
        let lines = std::fs::read_to_string(path)?;
        let lines = lines.lines().filter(|line| !line.trim_ascii().is_empty());
        let unseen: Vec<&str> = lines
            .zip(examples)
            .filter(|(_, example)| !starts.contains(&start(example)))
            .map(|(line, _)| line)
            .collect();
        write_whole(&out.join(format!("{task}.unseen.jsonl")), |file| {
            unseen.iter().try_for_each(|line| writeln!(file, "{line}"))
        })?;
        println!(
            "{task}: {} of {} examples are new",
            unseen.len(),
            examples.len()
        );
    }
    Ok(())
}
