//! `first train labels`.

use super::super::options::{ModelOptions, base_model, count_bar, follow, load};
use super::{THRESHOLDS, read, router_file};
use crate::adapter::LoraAdapter;
use crate::calibrate::{Budget, Unit};
use crate::data::Example;
use crate::engine::Engine;
use crate::mask::{LayerMask, Sublayer};
use crate::router::file::RouterFile;
use crate::router::{Granularity, Router};
use crate::train::{
    by_task, calibration, features, fit_routers, majority, routed_mask, target_masks,
};
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Examples of each task.
type ByTask<'a> = BTreeMap<String, Vec<&'a Example>>;

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
    /// JSON lines with `prompt` and `completion`, or `messages`, and `task`; may be given several times.
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
    /// Search none: each task gets what these routers, with the adapter of their folder, skip for most of its prompts.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["adapter", "units", "skip", "rates", "tolerate", "candidates"])]
    settle: Option<PathBuf>,
    /// The low-rank updates that the routers will serve with; they go into the folder too.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What may be skipped on its own.
    #[arg(long, value_enum, default_value_t = What::Sublayers)]
    units: What,
    /// How many of them each task skips, at most.
    #[arg(long, value_name = "N", default_value_t = 5)]
    skip: usize,
    /// These shares of the layers' weights instead: one search that goes as far as the largest, and for each a folder of
    /// its own in DIR.
    #[arg(
        long,
        value_name = "RATE",
        value_delimiter = ',',
        conflicts_with = "skip"
    )]
    rates: Vec<f64>,
    /// The most that skipping may raise a task's loss, in nats a token.
    #[arg(long, value_name = "X", default_value_t = f64::INFINITY)]
    tolerate: f64,
    /// Examples of a task to search on.
    #[arg(long, value_name = "N", default_value_t = 8)]
    search: usize,
    /// Examples of a task to fit and to calibrate on.
    #[arg(long, value_name = "N", default_value_t = 24)]
    fit: usize,
    /// How many of the least influential units each step of the search tries.
    #[arg(long, value_name = "N", default_value_t = 6)]
    candidates: usize,
    /// Weight of the routers' squared weights in their loss.
    #[arg(long, value_name = "X", default_value_t = 0.01)]
    decay: f32,
    /// Longest example in tokens; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = 320)]
    tokens: usize,
    #[command(flatten)]
    model: ModelOptions,
}

impl Labels {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let examples = read(&self.data, self.skip_bad)?;
        let held_out = read(&self.calibration, self.skip_bad)?;
        let mut engine = load(&self.model)?;
        let adapter = self.adapter(&engine)?;
        if let Some(adapter) = &adapter {
            engine.set_adapter(adapter)?;
        }
        let interrupted = super::super::run::interrupt()?;
        let layers = engine.model.config.layers;
        let units: Vec<Unit> = Unit::all(layers, self.units != What::Layers)
            .into_iter()
            .filter(|unit| self.units != What::Attentions || unit.sublayer == Some(Sublayer::Attn))
            .collect();
        anyhow::ensure!(
            self.skip > 0 && self.skip < units.len(),
            "{} of {} cannot be skipped; ask for at least one and not for all",
            self.skip,
            units.len()
        );
        anyhow::ensure!(
            self.rates.iter().all(|rate| *rate > 0.0 && *rate < 1.0),
            "a share of the layers' weights is between 0 and 1: `--rates 0.04,0.08`"
        );
        let tasks = by_task(&examples);
        let held_out = by_task(&held_out);
        let settle = self.settle.as_ref().map(|folder| routers(&engine, folder));
        let settle = settle.transpose()?;
        // Of each budget, a mask for each task.
        let mut budgets = vec![Masks::new(); self.rates.len().max(1)];
        for (task, examples) in &tasks {
            let masks = match &settle {
                Some(router) => {
                    vec![self.settle(&mut engine, task, examples, router, &interrupted)?]
                }
                None => self.search(&engine, task, examples, &units, &interrupted)?,
            };
            for (budget, mask) in budgets.iter_mut().zip(masks) {
                budget.insert(task, mask);
            }
        }
        for (index, masks) in budgets.iter().enumerate() {
            let out = match self.rates.get(index) {
                Some(rate) => self.out.join(rate.to_string()),
                None => self.out.clone(),
            };
            self.write(&mut engine, [&tasks, &held_out], masks, &out, &interrupted)?;
            if let Some(adapter) = &adapter {
                adapter.save(&out, &engine.model.config)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Routers that give each task its mask, fitted, calibrated and written.
    fn write(
        &self,
        engine: &mut Engine,
        [tasks, held_out]: [&ByTask<'_>; 2],
        masks: &Masks<'_>,
        out: &Path,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<()> {
        let router = self.fit(engine, tasks, masks, interrupted)?;
        engine.set_router(&router)?;
        let decision = router.decision();
        let mut prompts = Vec::new();
        let mut right = 0;
        for (task, examples) in held_out {
            for example in few(examples, self.fit) {
                let tokens = example.tokens(engine, self.tokens)?;
                let prompt = tokens.ids[..tokens.answer].to_vec();
                let mask = routed_mask(engine, &prompt, &decision)?;
                right += usize::from(masks.get(task.as_str()) == Some(&mask));
                prompts.push(prompt);
            }
        }
        let mut points = Vec::new();
        let mut provenance = BTreeMap::new();
        let mut say = |key: &str, value: String| provenance.insert(key.to_owned(), value);
        if !prompts.is_empty() {
            let right = format!("{right} of {}", prompts.len());
            println!("{right} held-out prompts get exactly their task's mask");
            say("held-out prompts with their task's mask", right);
            let bar = count_bar("calibrating");
            let mut progress = |done, total| follow(&bar, interrupted, done, total);
            points = calibration(engine, &prompts, &decision, &THRESHOLDS, &mut progress)?;
            bar.finish_and_clear();
        }
        say(
            "made by",
            format!("first train labels {}", env!("CARGO_PKG_VERSION")),
        );
        let method = match self.settle {
            Some(_) => "logistic regression on each task's majority of trained routers' masks",
            None => "logistic regression on per-task greedy masks",
        };
        say("method", method.to_owned());
        say(
            "examples",
            format!("{} to search, {} to fit a task", self.search, self.fit),
        );
        for (task, mask) in masks {
            say(&format!("mask of {task}"), mask.to_string());
        }
        router_file(engine, router, points, provenance)?
            .save(out)
            .context("the routers were trained but not written")?;
        let out = out.display();
        println!("written to {out}; use them with `first run --router {out}`");
        Ok(())
    }

    /// The adapter that the routers will serve with.
    fn adapter(&self, engine: &Engine) -> anyhow::Result<Option<LoraAdapter>> {
        let settled = self
            .settle
            .as_ref()
            .filter(|folder| LoraAdapter::is_in(folder));
        let folder = self.adapter.as_ref().or(settled);
        let load = |folder: &PathBuf| LoraAdapter::load(folder, &engine.model.config);
        Ok(folder.map(load).transpose()?)
    }

    /// What most of a task's prompts skip by the routers.
    fn settle(
        &self,
        engine: &mut Engine,
        task: &str,
        examples: &[&Example],
        router: &Router,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<LayerMask> {
        engine.set_router(router)?;
        let decision = router.decision();
        let bar = count_bar("routing");
        let mut masks = Vec::new();
        for example in few(examples, self.fit) {
            let tokens = example.tokens(engine, self.tokens)?;
            masks.push(routed_mask(
                engine,
                &tokens.ids[..tokens.answer],
                &decision,
            )?);
            let total = self.fit.min(examples.len()) as u64;
            if follow(&bar, interrupted, masks.len() as u64, total).is_break() {
                return Err(crate::Error::Cancelled.into());
            }
        }
        bar.finish_and_clear();
        let mask = majority(&masks);
        let same = masks.iter().filter(|other| **other == mask).count();
        println!(
            "{task}: skipping {mask}, as {same} of {} prompts do exactly, {:.1} % of the layers' weights",
            masks.len(),
            100.0 * engine.summary.skip_rate(&mask)
        );
        Ok(mask)
    }

    /// A mask of one task for each budget, searched for.
    fn search(
        &self,
        engine: &Engine,
        task: &str,
        examples: &[&Example],
        units: &[Unit],
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<Vec<LayerMask>> {
        let tokens = few(examples, self.search)
            .map(|example| example.tokens(engine, self.tokens))
            .collect::<Result<Vec<_>, _>>()?;
        let bar = count_bar("searching");
        bar.println(format!("searching a mask for {task}"));
        let share = |mask: &LayerMask| engine.summary.skip_rate(mask);
        let full = LayerMask::full(engine.model.config.layers);
        let alone = units.iter().map(|unit| share(&unit.skipped_from(&full)));
        let smallest = alone.fold(1.0, f64::min);
        let furthest = self.rates.iter().copied().reduce(f64::max);
        let budget = Budget {
            units: furthest.map_or(self.skip, |rate| (rate / smallest).ceil() as usize),
            rate: furthest.unwrap_or(1.0),
            loss: self.tolerate,
            candidates: self.candidates,
        };
        let path = target_masks(engine, &tokens, units, budget, &mut |done, total| {
            follow(&bar, interrupted, done, total)
        })?;
        bar.finish_and_clear();
        let nearest = |rate: &f64| {
            let off = |index: &usize| (share(&path[*index].0) - rate).abs();
            let order = |a: &usize, b: &usize| off(a).total_cmp(&off(b));
            (0..path.len()).min_by(order).unwrap_or(0)
        };
        let wanted: Vec<usize> = match furthest {
            Some(_) => self.rates.iter().map(nearest).collect(),
            None => vec![path.len() - 1],
        };
        let base = path[0].1;
        for index in &wanted {
            let (mask, loss) = &path[*index];
            println!(
                "{task}: skipping {mask}, loss {base:.3} -> {loss:.3} on {} answers, {:.1} % of the layers' weights",
                tokens.len(),
                100.0 * share(mask)
            );
        }
        Ok(wanted
            .into_iter()
            .map(|index| path[index].0.clone())
            .collect())
    }

    fn fit(
        &self,
        engine: &Engine,
        tasks: &ByTask<'_>,
        masks: &Masks<'_>,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<Router> {
        let bar = count_bar("reading prompts");
        let total = tasks
            .values()
            .map(|examples| examples.len().min(self.fit))
            .sum::<usize>();
        let mut pairs = Vec::new();
        for (task, examples) in tasks {
            let mask = &masks[task.as_str()];
            for example in few(examples, self.fit) {
                let tokens = example.tokens(engine, self.tokens)?;
                pairs.push((features(engine, &tokens.ids[..tokens.answer], mask)?, mask));
                if follow(&bar, interrupted, pairs.len() as u64, total as u64).is_break() {
                    return Err(crate::Error::Cancelled.into());
                }
            }
        }
        bar.finish_and_clear();
        let granularity = match self.units {
            What::Layers => Granularity::Layer,
            What::Sublayers | What::Attentions => Granularity::Sublayer,
        };
        Ok(fit_routers(&pairs, granularity, self.decay))
    }
}

/// The routers of a folder, made for this model.
fn routers(engine: &Engine, folder: &Path) -> anyhow::Result<Router> {
    let file = RouterFile::load(folder)?;
    file.check(&base_model(engine)?)?;
    file.router.ok_or_else(|| {
        let folder = folder.display();
        anyhow::anyhow!("{folder} holds a fixed mask, no routers; there is nothing to settle")
    })
}

/// Up to `count` of a task's examples, spread evenly.
fn few<'a>(examples: &'a [&'a Example], count: usize) -> impl Iterator<Item = &'a Example> {
    let count = count.min(examples.len());
    (0..count).map(move |index| examples[index * examples.len() / count])
}
