//! `first train labels`.

use super::super::options::{
    ModelOptions, base_model, load, not_negative, rate, some, subject, text_tokens, tolerance,
    units,
};
use super::super::progress::{interrupt, with_bar};
use super::search::{enough, found};
use super::settle::{self, Trained};
use super::{THRESHOLDS, command_line, no_run_in, read, save, skipping, tasks};
use crate::adapter::LoraAdapter;
use crate::calibrate::meter::{Against, Counter};
use crate::calibrate::{Budget, Unit, spread};
use crate::data::{Tokens, must_be_others, task_name};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use crate::router::file::{Decides, RouterFile};
use crate::router::{Granularity, Router, THRESHOLD};
use crate::train::run::Tasks;
use crate::train::{Search, calibration, features, fit_routers, masks_at};
use anyhow::Context;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How many times what all tasks skip on the mean one of them may skip that was searched for: what is known of its loss
/// are a few answers of a model that was not trained with the mask.
const MOST_SPREAD: f64 = 1.5;

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
    /// Leave out lines that are no examples, saying which, instead of stopping.
    #[arg(long)]
    skip_bad: bool,
    /// The folder to write the routers to, for `--router`.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Search none: each task gets what a trained run, with the adapter of its folder if it has one, skips for most of
    /// its prompts. Of several runs each task gets the mask of one, so that all tasks skip `--rates` at the least loss of
    /// the calibration examples, each with the adapter of its run.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["units", "protect", "skip", "tolerate", "against", "search", "candidates"])]
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
    skip: usize,
    /// In place of `--skip`: shares of the layers' weights, `4%,8%`, on the mean over the tasks. A task that loses less
    /// by it skips more, up to half as much again. For each share a folder of its own in DIR.
    #[arg(
        long,
        value_name = "RATE",
        value_delimiter = ',',
        value_parser = rate,
        conflicts_with = "skip"
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
        let protected = LayerMask::parse(&self.protect, layers)?;
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
        let of = |examples, count| tasks(&engine, examples, self.tokens, count);
        let fit = of(&examples, self.fit)?;
        let held_out = of(&held_out, self.fit)?;
        let mut journal = match self.is_short() {
            true => Journal::default(),
            false => self.journal(&engine)?,
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
        let granularity = self.granularity(&trained);
        // No routers are written before all rates are known to be met.
        let choose = |index: usize| self.chosen(&engine, &fit, &paths, self.rates.get(index));
        let chosen = (0..outs.len()).map(choose);
        let chosen = chosen.collect::<anyhow::Result<Vec<_>>>()?;
        let read = |engine: &Engine, mask: &dyn Fn(&str) -> LayerMask| {
            self.inputs(engine, &fit, mask, &interrupted)
        };
        // Where every layer reads the prompts, routers of all rates are given the same.
        let shared = match prefill {
            PrefillReading::Masked => None,
            PrefillReading::Full => Some(read(&engine, &|_| LayerMask::full(layers))?),
        };
        for (out, masks) in outs.iter().zip(chosen) {
            let inputs = match &shared {
                Some(shared) => Cow::Borrowed(shared),
                None => Cow::Owned(read(&engine, &|task| masks[task].clone())?),
            };
            let target = |(task, texts): (&String, &Vec<Tokens>)| {
                std::iter::repeat_n(&masks[task.as_str()], texts.len())
            };
            let pairs: Vec<_> = inputs.iter().zip(fit.iter().flat_map(target)).collect();
            let mut router = Router {
                prefill,
                ..fit_routers(&pairs, granularity, self.decay)
            };
            router.protected = protected.to_skipped();
            let adapter = adapter.as_ref();
            self.write(
                &mut engine,
                (router, adapter),
                &held_out,
                &masks,
                out,
                &interrupted,
            )?;
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
        match whole {
            true => Granularity::Layer,
            false => Granularity::Sublayer,
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

    /// How far to search.
    fn budget(&self, engine: &Engine, units: &[Unit]) -> anyhow::Result<Budget> {
        let mut budget = Budget {
            units: self.skip,
            rate: 1.0,
            loss: self.tolerate.into(),
            candidates: self.candidates,
        };
        if !self.settle.is_empty() {
            return Ok(budget);
        }
        if self.rates.is_empty() {
            anyhow::ensure!(
                self.skip < units.len(),
                "{} of {} cannot be skipped; lower `--skip`, or protect less",
                self.skip,
                units.len()
            );
            return Ok(budget);
        }
        let full = LayerMask::full(engine.model.config.layers);
        let skip = |mask: LayerMask, unit: &Unit| unit.skipped_from(&mask);
        let nothing = units.iter().fold(full.clone(), skip);
        let most = engine.summary.skip_rate(&nothing);
        for rate in self.rates.iter().map(|rate| f64::from(*rate)) {
            anyhow::ensure!(
                rate > 0.0 && rate < most,
                "{:.1} % cannot be skipped, all that may be is {:.1} % of the layers' weights; lower `--rates`, or choose other `--units`",
                100.0 * rate,
                100.0 * most
            );
        }
        let highest = self.rates.iter().copied().fold(0.0, f32::max);
        budget.rate = most.min(MOST_SPREAD * f64::from(highest));
        let share = |unit: &Unit| engine.summary.skip_rate(&unit.skipped_from(&full));
        let smallest = units.iter().map(share).fold(1.0, f64::min);
        budget.units = units.len().min((budget.rate / smallest).ceil() as usize);
        Ok(budget)
    }

    /// Of the masks of each task's path, the one to use: the last, or those that together skip a rate.
    fn chosen<'a>(
        &self,
        engine: &Engine,
        tasks: &'a Tasks,
        paths: &[Vec<(LayerMask, f64)>],
        rate: Option<&f32>,
    ) -> anyhow::Result<Masks<'a>> {
        let at = match rate {
            Some(rate) => {
                let rate = f64::from(*rate);
                let most = match self.settle.is_empty() {
                    true => MOST_SPREAD * rate,
                    false => 1.0,
                };
                spread(&engine.summary, paths, rate, most)
            }
            None => paths.iter().map(|path| path.len() - 1).collect(),
        };
        let mut masks = Masks::new();
        let mut skipped = 0.0;
        for ((task, path), at) in tasks.keys().zip(paths).zip(at) {
            let (base, (mask, loss)) = (path[0].1, &path[at]);
            let share = engine.summary.skip_rate(mask);
            if self.settle.len() != 1 {
                let cost = match (self.against, self.settle.is_empty()) {
                    (Against::Model, true) => {
                        format!("{:.3} nats a token from the full model", loss - base)
                    }
                    _ => format!("loss {base:.3} -> {loss:.3}"),
                };
                say!("{}: {}, {cost}", task_name(task), skipping(mask, share));
            }
            skipped += share / paths.len() as f64;
            masks.insert(task, mask.clone());
        }
        let remedy = match self.settle.as_slice() {
            [] => "raise `--skip`, `--rates` or `--tolerate`",
            [_] => "settle on a run that skips something for most prompts of a task",
            _ => "raise `--rates`",
        };
        anyhow::ensure!(skipped > 0.0, "no task skips anything; {remedy}");
        if let (Some(rate), false) = (rate, self.settle.is_empty()) {
            // A step of the runs is as large as their rates are apart.
            let mean = |last: bool| {
                let share = |path: &Vec<(LayerMask, f64)>| {
                    let end = if last { path.last() } else { path.first() };
                    end.map_or(0.0, |(mask, _)| engine.summary.skip_rate(mask))
                };
                paths.iter().map(share).sum::<f64>() / paths.len() as f64
            };
            // A rate is an f32: 20 % is a little more.
            const SLACK: f64 = 1e-6;
            let (least, most) = (mean(false), mean(true));
            anyhow::ensure!(
                least <= f64::from(*rate) + SLACK,
                "the masks worth taking skip {:.1} % at least, since what skips less loses more; raise `--rates`, or add a run that skips less and loses less",
                100.0 * least
            );
            anyhow::ensure!(
                most >= f64::from(*rate) - SLACK,
                "these runs skip {:.1} % at most; lower `--rates`, or settle on runs that skip more",
                100.0 * most
            );
        }
        say!("all tasks: {:.1} % of the layers' weights", 100.0 * skipped);
        Ok(masks)
    }

    /// Checks, calibrates and writes routers that were fitted to the tasks' masks.
    fn write(
        &self,
        engine: &mut Engine,
        (router, adapter): (Router, Option<&LoraAdapter>),
        held_out: &Tasks,
        masks: &Masks<'_>,
        out: &Path,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<()> {
        engine.set_router(&router)?;
        let decision = router.decision();
        let mut points = Vec::new();
        let mut provenance = BTreeMap::new();
        let mut note = |key: &str, value: String| provenance.insert(key.to_owned(), value);
        if !held_out.is_empty() {
            let (mut prompts, mut targets) = (Vec::new(), Vec::new());
            for (task, texts) in held_out {
                let prompt = |text: &Tokens| text.ids[..text.answer].to_vec();
                prompts.extend(texts.iter().map(prompt));
                targets.extend(std::iter::repeat_n(masks.get(task.as_str()), texts.len()));
            }
            let at = with_bar("calibrating", interrupted, |progress| {
                masks_at(engine, &prompts, &decision, &THRESHOLDS, progress)
            })?;
            points = calibration(&engine.summary, &THRESHOLDS, &at);
            let served = THRESHOLDS.iter().position(|point| *point == THRESHOLD);
            let served = served.expect("routers are fitted to it");
            let same = at.iter().zip(targets);
            let right = same.filter(|(at, target)| *target == Some(&at[served]));
            let right = format!("{} of {}", right.count(), prompts.len());
            say!("{right} calibration prompts get exactly their task's mask");
            note("calibration prompts with their task's mask", right);
        }
        let command = command_line(std::env::args_os().skip(1));
        note("made by", format!("first {command}"));
        let (method, examples) = match self.settle.is_empty() {
            false => ("each task's mask of a trained run", String::new()),
            true => (
                "per-task greedy masks",
                format!("{} to search, more where answers are short, ", self.search),
            ),
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
        let adapter = match has_adapter {
            true => format!(" --adapter {out}"),
            false => String::new(),
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

    /// What routers are given of each prompt, `[layers][H]`, on the path that its task's mask leaves.
    fn inputs(
        &self,
        engine: &Engine,
        tasks: &Tasks,
        mask: &dyn Fn(&str) -> LayerMask,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<Vec<Vec<Vec<f32>>>> {
        let total = tasks.values().map(Vec::len).sum();
        let inputs = with_bar(
            "reading prompts",
            interrupted,
            |progress| -> Result<Vec<_>> {
                let mut counter = Counter::new(total, progress);
                let mut inputs = Vec::new();
                for (task, texts) in tasks {
                    let mask = mask(task);
                    for text in texts {
                        inputs.push(features(engine, &text.ids[..text.answer], &mask)?);
                        counter.one()?;
                    }
                }
                Ok(inputs)
            },
        )?;
        Ok(inputs)
    }
}
