//! `first train labels`.

use super::super::options::{ModelOptions, count_bar, follow, load};
use super::{THRESHOLDS, read, router_file};
use crate::calibrate::{Budget, Unit};
use crate::data::Example;
use crate::engine::Engine;
use crate::mask::{LayerMask, Sublayer};
use crate::router::Granularity;
use crate::train::{by_task, calibration, features, fit_routers, routed_mask, target_mask};
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
    /// What may be skipped on its own.
    #[arg(long, value_enum, default_value_t = What::Sublayers)]
    units: What,
    /// How many of them each task skips, at most.
    #[arg(long, value_name = "N", default_value_t = 5)]
    skip: usize,
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
        let tasks = by_task(&examples);
        let mut masks = BTreeMap::new();
        for (task, examples) in &tasks {
            let (mask, line) = self.label(&engine, task, examples, &units, &interrupted)?;
            println!("{line}");
            masks.insert(task.as_str(), mask);
        }
        let router = self.fit(&engine, &tasks, &masks, &interrupted)?;
        engine.set_router(&router)?;
        let decision = router.decision();
        let mut points = Vec::new();
        let (mut right, mut all) = (0, 0);
        if !held_out.is_empty() {
            let held_out = by_task(&held_out);
            let mut prompts = Vec::new();
            for (task, examples) in &held_out {
                for example in few(examples, self.fit) {
                    let tokens = example.tokens(&engine, self.tokens)?;
                    let prompt = tokens.ids[..tokens.answer].to_vec();
                    let mask = routed_mask(&mut engine, &prompt, &decision)?;
                    all += 1;
                    right += usize::from(masks.get(task.as_str()) == Some(&mask));
                    prompts.push(prompt);
                }
            }
            println!("{right} of {all} held-out prompts get exactly their task's mask");
            let bar = count_bar("calibrating");
            points = calibration(
                &mut engine,
                &prompts,
                &decision,
                &THRESHOLDS,
                &mut |done, total| follow(&bar, &interrupted, done, total),
            )?;
            bar.finish_and_clear();
        }
        let mut provenance = BTreeMap::new();
        let mut say = |key: &str, value: String| provenance.insert(key.to_owned(), value);
        say(
            "made by",
            format!("first train labels {}", env!("CARGO_PKG_VERSION")),
        );
        say(
            "method",
            "logistic regression on per-task greedy masks".to_owned(),
        );
        say(
            "examples",
            format!("{} to search, {} to fit a task", self.search, self.fit),
        );
        if all > 0 {
            let right = format!("{right} of {all}");
            say("held-out prompts with their task's mask", right);
        }
        for (task, mask) in &masks {
            say(&format!("mask of {task}"), mask.to_string());
        }
        let file = router_file(&engine, router, points, provenance)?;
        file.save(&self.out)
            .context("the routers were trained but not written")?;
        let out = self.out.display();
        println!("written to {out}; use them with `first run --router {out}`");
        Ok(ExitCode::SUCCESS)
    }

    /// The mask of one task, and what to say about it.
    fn label(
        &self,
        engine: &Engine,
        task: &str,
        examples: &[&Example],
        units: &[Unit],
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<(LayerMask, String)> {
        let tokens = few(examples, self.search)
            .map(|example| example.tokens(engine, self.tokens))
            .collect::<Result<Vec<_>, _>>()?;
        let bar = count_bar("searching");
        bar.println(format!("searching a mask for {task}"));
        let (mask, [base, loss]) = target_mask(
            engine,
            &tokens,
            units,
            Budget {
                units: self.skip,
                loss: self.tolerate,
                candidates: self.candidates,
            },
            &mut |done, total| follow(&bar, interrupted, done, total),
        )?;
        bar.finish_and_clear();
        let line = format!(
            "{task}: skipping {mask}, loss {base:.3} -> {loss:.3} on {} answers, {:.1} % of the layers' weights",
            tokens.len(),
            100.0 * engine.summary.skip_rate(&mask)
        );
        Ok((mask, line))
    }

    fn fit(
        &self,
        engine: &Engine,
        tasks: &BTreeMap<String, Vec<&Example>>,
        masks: &BTreeMap<&str, LayerMask>,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<crate::router::Router> {
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

/// Up to `count` of a task's examples, spread evenly.
fn few<'a>(examples: &'a [&'a Example], count: usize) -> impl Iterator<Item = &'a Example> {
    let count = count.min(examples.len());
    (0..count).map(move |index| examples[index * examples.len() / count])
}
