//! `first train labels`.

mod choose;
mod fit;
mod search;
mod settle;

use super::super::options::{
    ModelOptions, base_model, load, not_negative, rate, some, subject, text_tokens, tolerance,
    units,
};
use super::super::progress::interrupt;
use super::{command_line, no_run_in, read, save, tasks};
use crate::adapter::LoraAdapter;
use crate::calibrate::Unit;
use crate::calibrate::meter::Against;
use crate::data::{Tokens, must_be_others, task_name};
use crate::engine::Engine;
use crate::error::Error;
use crate::journal::Journal;
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use crate::router::file::{Decides, RouterFile};
use crate::router::{Granularity, Router};
use crate::train::Search;
use anyhow::Context;
use fit::{Calibrated, Fitting};
use search::{enough, found};
use settle::Trained;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A mask of each task.
type Masks<'a> = BTreeMap<&'a str, LayerMask>;

/// What may be skipped on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Whole layers: one router a layer.
    Layers,
    /// Attentions and MLPs: two routers a layer.
    Sublayers,
    /// Attentions alone, the cheapest to skip: two routers a layer, of which one always says to run.
    Attentions,
}

/// Search a mask for each task, and fit routers that tell the tasks apart.
#[derive(Debug, clap::Args)]
pub(crate) struct Labels {
    /// JSON lines with `prompt` and `completion`, or `messages`, and `task` if there are several; may be given several
    /// times.
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// Examples to calibrate on, which must be others; without them there is no `--skip RATE`.
    #[arg(long, value_name = "FILE")]
    calibration: Vec<PathBuf>,
    /// Leave out lines that are no examples, and prompts that leave no room for an answer, saying which, instead of
    /// stopping.
    #[arg(long)]
    skip_bad: bool,
    /// The folder to write the routers to, for `--router`.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Search none: each task gets what a trained run, with the adapter of its folder if it has one, skips for most of
    /// its prompts. Of several runs each task gets the mask of one, so that all tasks skip `--rates` at the least loss of
    /// the calibration examples, each with the adapter of its run.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["units", "protect", "budget", "tolerate", "against", "search", "candidates"])]
    settle: Vec<PathBuf>,
    /// The low-rank updates that the routers will serve with; they go into the folder too. By default those of the one
    /// run to settle on.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What may be skipped on its own.
    #[arg(long, value_enum, default_value_t = What::Sublayers)]
    units: What,
    /// What masks concern: prompt and answer, or the answer alone, so that every layer reads the prompt. By default as in
    /// the runs to settle on, or both.
    #[arg(long, value_enum)]
    prefill: Option<PrefillReading>,
    /// What always runs, in the syntax of `--skip-layers`, whatever the routers' thresholds.
    #[arg(long, value_name = "LAYERS", default_value = "none")]
    protect: String,
    /// How many of the `--units` each task skips, at most; the cheapest per byte, so that among sublayers MLPs are often
    /// first.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = units)]
    budget: usize,
    /// In place of `--budget`: shares of the layers' weights, `4%,8%`, on the mean over the tasks. A task that loses less
    /// by it skips more, up to half as much again. For each share a folder of its own in DIR.
    #[arg(
        long,
        value_name = "RATE",
        value_delimiter = ',',
        value_parser = rate,
        conflicts_with = "budget"
    )]
    rates: Vec<f32>,
    /// The most that skipping may raise a task's loss, in nats a token.
    #[arg(long, value_name = "X", default_value_t = f32::INFINITY, value_parser = tolerance)]
    tolerate: f32,
    /// What the search holds a mask against.
    #[arg(long, value_enum, default_value_t = Against::Model)]
    against: Against,
    /// Examples of a task to search on; up to four times as many where answers are short.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = some())]
    search: usize,
    /// Examples of a task to fit and to calibrate on.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = some())]
    fit: usize,
    /// How many of the units that cost least per byte alone each step of the search tries.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = some())]
    candidates: usize,
    /// Weight of the routers' squared weights in their loss.
    #[arg(long, value_name = "X", default_value_t = 0.01, value_parser = not_negative)]
    decay: f32,
    /// Longest example in tokens; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = 320, value_parser = text_tokens())]
    tokens: usize,
    #[command(flatten)]
    model: ModelOptions,
}

/// Refuses a folder of which anything would be lost: a run, routers that another command made, another adapter.
fn may_write(out: &Path, adapter: Option<&LoraAdapter>, engine: &Engine) -> anyhow::Result<()> {
    no_run_in(out)?;
    if RouterFile::is_in(out) {
        let found = RouterFile::load(out).context("these routers would be lost")?;
        let made_by = found.provenance.get("made by");
        anyhow::ensure!(
            made_by.is_some_and(|command| command.starts_with("first train labels")),
            "{} holds routers or a mask that no `first train labels` has made; give another `--out`",
            out.display()
        );
    }
    if LoraAdapter::is_in(out) {
        let found = LoraAdapter::load(out, &engine.model.config)?;
        anyhow::ensure!(
            adapter == Some(&found),
            "{} holds an adapter that these routers would not belong to; give it as `--adapter`, or another `--out`",
            out.display()
        );
    }
    Ok(())
}

impl Labels {
    /// Whether nothing is searched and nothing compared, which a journal would be kept of.
    pub(super) fn is_short(&self) -> bool {
        self.settle.len() == 1
    }

    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let examples = read(&self.data, self.skip_bad)?;
        let held_out = read(&self.calibration, self.skip_bad)?;
        must_be_others(&examples, &held_out)?;
        settle::check(&self.settle, &self.rates, [&examples, &held_out])?;
        let mut engine = load(&self.model)?;
        let open = |folder: &PathBuf| Trained::open(&engine, folder);
        let trained = self.settle.iter().map(open);
        let trained = trained.collect::<anyhow::Result<Vec<_>>>()?;
        let (adapter, digest) = self.adapter(&engine, &trained)?;
        engine.set_adapter(adapter.as_ref())?;
        let prefill = settle::reading(self.prefill, &trained)?;
        let interrupted = interrupt()?;
        let layers = engine.model.config.layers;
        let protected = match trained.as_slice() {
            [] => LayerMask::parse(&self.protect, layers)?,
            runs => settle::protected(runs, layers),
        };
        let units = self.searched(layers, &protected);
        let search = Search {
            units: &units,
            budget: self.budget(&engine, &units)?,
            against: self.against,
            prefill,
            adapter: &digest,
        };
        let outs = self.outs();
        for out in &outs {
            may_write(out, adapter.as_ref(), &engine)?;
        }
        // All that is needed, before anything long begins.
        let of = |examples, count| tasks(&engine, examples, [self.tokens, count], self.skip_bad);
        let fit = of(&examples, self.fit)?;
        let held_out = of(&held_out, self.fit)?;
        let mut journal = if self.is_short() {
            Journal::default()
        } else {
            self.journal(&engine)?
        };
        let paths = match trained.as_slice() {
            [] => {
                let texts = of(&examples, 4 * self.search)?;
                let searched = enough(texts, self.search, prefill)?;
                let found = |(task, texts): (&String, &Vec<Tokens>)| {
                    found(&engine, task, texts, search, &mut journal, &interrupted)
                };
                searched.iter().map(found).collect::<anyhow::Result<_>>()?
            }
            runs => {
                let texts = [&fit, &held_out];
                let paths = settle::settled(&mut engine, runs, texts, &mut journal, &interrupted)?;
                engine.set_adapter(adapter.as_ref())?;
                paths
            }
        };
        // No routers are written before all rates are known to be met.
        let choose = |index: usize| self.chosen(&engine, &fit, &paths, self.rates.get(index));
        let chosen = (0..outs.len()).map(choose);
        let chosen = chosen.collect::<anyhow::Result<Vec<_>>>()?;
        let fitting = Fitting {
            texts: &fit,
            held_out: &held_out,
            granularity: self.granularity(&trained),
            prefill,
            protected: &protected,
            decay: self.decay,
            interrupted: &interrupted,
        };
        let shared = fitting.shared_inputs(&engine)?;
        for (out, masks) in outs.iter().zip(chosen) {
            let router = fitting.router(&engine, &masks, shared.as_deref())?;
            let calibrated = fitting.calibrate(&mut engine, &router, &masks)?;
            self.write(&engine, (router, adapter.as_ref()), calibrated, &masks, out)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What may be skipped, but for what is protected.
    fn searched(&self, layers: usize, protected: &LayerMask) -> Vec<Unit> {
        let attentions = self.units == What::Attentions;
        let units = Unit::all(layers, self.units != What::Layers).into_iter();
        units
            .filter(|unit| !attentions || unit.sublayer == Some(Sublayer::Attn))
            .filter(|unit| !unit.is_in(protected))
            .collect()
    }

    /// What the routers decide over: layers, if all masks skip them whole.
    fn granularity(&self, trained: &[Trained]) -> Granularity {
        let whole = match trained {
            [] => self.units == What::Layers,
            runs => runs.iter().all(Trained::skips_layers_whole),
        };
        if whole {
            Granularity::Layer
        } else {
            Granularity::Sublayer
        }
    }

    /// The folders to write.
    fn outs(&self) -> Vec<PathBuf> {
        if self.rates.is_empty() {
            return vec![self.out.clone()];
        }
        let out = |rate: &f32| self.out.join(rate.to_string());
        self.rates.iter().map(out).collect()
    }

    /// What a search, or a comparison of runs, that was interrupted has measured.
    fn journal(&self, engine: &Engine) -> anyhow::Result<Journal> {
        std::fs::create_dir_all(&self.out).map_err(|error| Error::write(&self.out, error))?;
        let path = self.out.join("journal.jsonl");
        Ok(Journal::open(&path, subject(engine)?)?)
    }

    /// Writes routers that were fitted to the tasks' masks.
    fn write(
        &self,
        engine: &Engine,
        (router, adapter): (Router, Option<&LoraAdapter>),
        calibrated: Option<Calibrated>,
        masks: &Masks<'_>,
        out: &Path,
    ) -> anyhow::Result<()> {
        let mut provenance = BTreeMap::new();
        let mut note = |key: &str, value: String| provenance.insert(key.to_owned(), value);
        let mut points = Vec::new();
        if let Some(calibrated) = calibrated {
            let right = format!("{} of {}", calibrated.right, calibrated.prompts);
            say!("{right} calibration prompts get exactly their task's mask");
            note("calibration prompts with their task's mask", right);
            points = calibrated.points;
        }
        let command = command_line(std::env::args_os().skip(1));
        note("made by", format!("first {command}"));
        let (method, examples) = if self.settle.is_empty() {
            (
                "per-task greedy masks",
                format!("{} to search, more where answers are short, ", self.search),
            )
        } else {
            ("each task's mask of a trained run", String::new())
        };
        note("method", format!("logistic regression on {method}"));
        note("examples", format!("{examples}{} to fit a task", self.fit));
        for (task, mask) in masks {
            note(&format!("mask of {}", task_name(task)), mask.to_string());
        }
        let routers = RouterFile {
            base_model: base_model(engine)?,
            decides: Decides::Routers(router),
            calibration: points,
            provenance,
        };
        // What is there is the same adapter, and perhaps the user's own file.
        let adapter = adapter.filter(|_| !LoraAdapter::is_in(out));
        save(out, adapter, &routers, engine).context("the routers were trained but not written")?;
        let has_adapter = LoraAdapter::is_in(out);
        let out = out.display();
        let adapter = if has_adapter {
            format!(" --adapter {out}")
        } else {
            String::new()
        };
        say!("written to {out}; use them with `first run --router {out}{adapter}`");
        Ok(())
    }

    /// The adapter that the routers will serve with, and a digest of it, or nothing.
    fn adapter(
        &self,
        engine: &Engine,
        trained: &[Trained],
    ) -> anyhow::Result<(Option<LoraAdapter>, String)> {
        Ok(match (&self.adapter, trained) {
            (Some(folder), _) => {
                let adapter = LoraAdapter::load(folder, &engine.model.config)?;
                (Some(adapter), LoraAdapter::digest(folder)?)
            }
            (None, [run]) => (run.adapter.clone(), run.digest.clone()),
            (None, runs) => {
                anyhow::ensure!(
                    runs.iter().all(|run| run.adapter.is_none()),
                    "these runs have an adapter each, and routers serve with one; give it as `--adapter DIR`"
                );
                (None, String::new())
            }
        })
    }
}
