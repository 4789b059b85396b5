//! `first eval`.

mod candidates;
mod show;

use super::options::{
    AdapterOptions, ModelOptions, load, load_with, rate, some, subject, tell_of_cuts, text_tokens,
};
use super::progress::{count_bar, follow, interrupt};
use crate::adapter::LoraAdapter;
use crate::data;
use crate::engine::{AdapterMode, Engine};
use crate::error::{Error, Result};
use crate::eval::controls::Control;
use crate::eval::meter::Meter;
use crate::eval::metrics::Metric;
use crate::eval::report::Report;
use crate::eval::{EvalPlan, Item, nothing_to_search, run, saved};
use crate::file::write_whole;
use crate::journal::Journal;
use candidates::{adapter, router, tell_apart};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measure what skipping costs on held-out answers, under several policies.
///
/// Prints tables in Markdown. Beside the first router stand controls that skip as many weight bytes; those that
/// are searched need `--calibration`. docs/eval.md says how each figure is computed.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Eval {
    #[command(subcommand)]
    what: Option<What>,
    /// JSON lines with `prompt` and `completion`, or `messages`, and `task`; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// Other examples, to search controls on.
    #[arg(long, value_name = "FILE", requires = "routers")]
    calibration: Vec<PathBuf>,
    /// A router file or a fixed mask, and what tables call it; may be given several times.
    #[arg(long = "router", value_name = "[NAME=]DIR")]
    routers: Vec<String>,
    /// A LoRA adapter, and the policy that it was trained for: without a name every policy is measured with it,
    /// and always every policy without; may be given several times.
    #[arg(long = "adapter", value_name = "[NAME=]DIR")]
    adapters: Vec<String>,
    /// Measure what has an adapter with it alone, and no controls but those that `--controls` names: half the work.
    #[arg(long, requires = "adapters")]
    tuned: bool,
    /// How adapters are applied.
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        default_value_t,
        requires = "adapters"
    )]
    adapter_mode: AdapterMode,
    /// Move the routers' thresholds to skip about this share of the layers' weights, by their calibration;
    /// may be given several times.
    #[arg(long, value_name = "RATE", requires = "routers", value_parser = rate)]
    skip: Vec<f32>,
    /// A further mask, and what tables call it: `fixed:7-9,21.attn`, `even:5`, `random:25%`; may be given several times. It
    /// concerns what the first router's masks do, prompt and answer or the answer alone; without routers, both.
    #[arg(long = "mask", value_name = "[NAME=]MASK")]
    masks: Vec<String>,
    /// What to compare the first router with; by default all that the data allows.
    #[arg(
        long,
        value_name = "CONTROL",
        value_delimiter = ',',
        requires = "routers"
    )]
    controls: Option<Vec<Control>>,
    /// How many random masks the control `random` is the mean of.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Score what the model answers too, not its loss alone, where `task` is `math`, `qa`, `summary` or `translation`: slow,
    /// since these answers are generated.
    #[arg(long)]
    scores: bool,
    /// With `--scores`: the most tokens of a generated answer.
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 128,
        requires = "scores"
    )]
    max_tokens: usize,
    /// Examples of each task of a file, spread evenly.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = some())]
    examples: usize,
    /// Examples of each task of a calibration file to search controls on.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = some(), requires = "calibration")]
    search: usize,
    /// Longest example in tokens; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = 320, value_parser = text_tokens())]
    tokens: usize,
    /// Write eval.md, eval.csv, eval.json and eval.svg to this folder. What was measured is noted there as it
    /// comes: the same command goes on where it was interrupted.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of the bootstrap.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    model: ModelOptions,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the tables of saved results, one file's or several held against each other; nothing is measured.
    Show(show::Show),
}

impl Eval {
    /// Whether what is measured is noted as it comes.
    pub(super) fn keeps(&self) -> bool {
        self.out.is_some()
    }

    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        if let Some(What::Show(show)) = self.what.take() {
            return show.run();
        }
        let examples = read(&self.data, self.examples)?;
        let calibration = read(&self.calibration, self.search)?;
        data::must_be_others(&examples, &calibration)?;
        let tasks = data::by_task(&examples).len();
        if let Some(what) = saved::too_much(examples.len(), tasks) {
            let remedy = "give fewer with `--examples`, or fewer files";
            return Err(Error::input(what, remedy).into());
        }
        let scored = |one: &data::Example| {
            let task = one.task.as_deref().unwrap_or_default();
            !Metric::of_task(task).is_empty()
        };
        anyhow::ensure!(
            !self.scores || examples.iter().any(scored),
            "`--scores` knows how to score tasks called `math`, `qa`, `summary` and `translation`, and there is none; leave it out"
        );
        let files = self.routers.iter().map(|text| router(text));
        let files = files.collect::<Result<Vec<_>>>()?;
        let folders = self
            .adapters
            .iter()
            .map(|text| adapter(text, self.adapter_mode));
        let (adapters, folders): (Vec<_>, Vec<_>) =
            folders.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        tell_apart(&adapters)?;
        let repeated = data::repeated(&examples);
        if repeated > 0 {
            tell!(
                "{repeated} examples are there more than once, and count as often: intervals are too narrow"
            );
        }
        let mut controls = self.controls()?;
        if controls.contains(&Control::PerTask)
            && let Some(error) = unsearchable(&examples, &calibration)
        {
            if self.controls.is_some() {
                return Err(error.into());
            }
            tell!("the control `per-task` is left out: {error}");
            controls.retain(|control| *control != Control::PerTask);
        }
        let engine = load(&self.model)?;
        let items = |examples: &[data::Example]| {
            let item = |example: &data::Example| {
                Ok(Item {
                    task: example.task.clone().unwrap_or_default(),
                    tokens: example.tokens(&engine, self.tokens)?,
                    reference: example.completion.clone(),
                })
            };
            let items = examples.iter().map(item).collect::<Result<Vec<_>>>()?;
            tell_of_cuts(&engine, items.iter().map(|item| &item.tokens));
            Ok::<_, Error>(items)
        };
        let (candidates, leads) = self.candidates(&files, &adapters, &controls, &engine)?;
        let plan = EvalPlan {
            items: items(&examples)?,
            calibration: items(&calibration)?,
            candidates,
            leads,
            controls,
            tuned: self.tuned,
            seeds: self.seeds,
            answer_tokens: self.scores.then_some(self.max_tokens),
        };
        let journal = match &self.out {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
                Journal::open(&folder.join("journal.jsonl"), subject(&engine)?)?
            }
            None => Journal::default(),
        };
        let (model, gpu) = (engine.summary.clone(), engine.gpu.summary.clone());
        let (searching, measuring) = (count_bar("searching controls"), count_bar("measuring"));
        let interrupted = interrupt()?;
        let mut load = |mut engine: Engine, adapter: Option<usize>| {
            let folder = adapter.map(|index| folders[index].clone());
            match self.adapter_mode {
                AdapterMode::RunTime => {
                    let config = &engine.model.config;
                    let read = |folder: PathBuf| LoraAdapter::load(&folder, config);
                    let adapter = folder.map(read).transpose()?;
                    engine.set_adapter(adapter.as_ref())?;
                    Ok(engine)
                }
                AdapterMode::Merged => {
                    // Two models may be more than there is memory for.
                    drop(engine);
                    let of = |folder| AdapterOptions::of(folder, self.adapter_mode);
                    load_with(&self.model, &folder.map(of).unwrap_or_default())
                }
            }
        };
        let mut meter = Meter::new(engine, &mut load, &adapters, journal);
        let rows = run(
            &mut meter,
            &plan,
            &mut |done, total| follow(&searching, &interrupted, done, total),
            &mut |done, total| follow(&measuring, &interrupted, done, total),
        )?;
        searching.finish_and_clear();
        measuring.finish_and_clear();
        let report = Report::new(model, gpu, &plan.items, rows, self.seed)?;
        publish(&report, self.out.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the tables, and writes them to a folder.
fn publish(report: &Report, folder: Option<&Path>) -> anyhow::Result<()> {
    let table = report.markdown();
    say!("{}", table.trim_end());
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    let json = serde_json::to_string_pretty(report)? + "\n";
    for (name, text) in [
        ("eval.md", &table),
        ("eval.csv", &report.csv()),
        ("eval.json", &json),
        ("eval.svg", &report.svg()),
    ] {
        write_whole(&folder.join(name), |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Why some task's own mask cannot be searched, if so.
fn unsearchable(examples: &[data::Example], calibration: &[data::Example]) -> Option<Error> {
    let [examples, calibration] = [examples, calibration].map(data::by_task);
    let mut tasks = examples.keys();
    let missing = tasks.find(|task| !calibration.contains_key(*task))?;
    Some(nothing_to_search(missing))
}

fn read(files: &[PathBuf], count: usize) -> Result<Vec<data::Example>> {
    let mut chosen = Vec::new();
    for path in files {
        let examples = data::read(path)?;
        chosen.extend(data::of_each_task(&examples, count));
    }
    Ok(chosen)
}
