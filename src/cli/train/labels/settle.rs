//! What `first train labels --settle` takes masks from: runs that were trained with theirs.

use crate::adapter::LoraAdapter;
use crate::calibrate::front;
use crate::calibrate::meter::{Counter, noted_loss};
use crate::cli::options::base_model;
use crate::cli::progress::with_bar;
use crate::cli::train::skipping;
use crate::data::{Example, Tokens, task_name};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::Journal;
use crate::mask::{LayerMask, Masking, PrefillReading, Sublayer};
use crate::router::Granularity;
use crate::router::file::{Decides, RouterFile};
use crate::train::majority;
use crate::train::run::Tasks;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// What every one of these runs protects that skips anything, as a mask that skips it.
pub(super) fn protected(runs: &[Trained], layers: usize) -> LayerMask {
    let skipping: Vec<&Trained> = runs.iter().filter(|run| run.prefill().is_some()).collect();
    let by_all = |layer| {
        Sublayer::BOTH.map(|sublayer| {
            !skipping.is_empty() && skipping.iter().all(|run| run.protects(layer, sublayer))
        })
    };
    LayerMask::skipping(&(0..layers).map(by_all).collect::<Vec<_>>())
}

/// A trained run: what decides, and the adapter that was trained with it.
#[derive(Debug)]
pub(super) struct Trained {
    name: String,
    decides: Decides,
    pub(super) adapter: Option<LoraAdapter>,
    /// A digest of the adapter, or nothing.
    pub(super) digest: String,
}

impl Trained {
    /// Opens the folder of a run of this model.
    pub(super) fn open(engine: &Engine, folder: &Path) -> anyhow::Result<Self> {
        let file = RouterFile::load(folder)?;
        file.check(&base_model(engine)?)?;
        let (mut adapter, mut digest) = (None, String::new());
        if LoraAdapter::is_in(folder) {
            adapter = Some(LoraAdapter::load(folder, &engine.model.config)?);
            digest = LoraAdapter::digest(folder)?;
        }
        Ok(Self {
            name: folder.display().to_string(),
            decides: file.decides,
            adapter,
            digest,
        })
    }

    /// Whether its masks concern the prompt; `None` if it skips nothing.
    pub(super) fn prefill(&self) -> Option<PrefillReading> {
        match &self.decides {
            Decides::Routers(router) => Some(router.prefill),
            Decides::Mask(masking) => (!masking.mask.is_full()).then_some(masking.prefill),
        }
    }

    /// Whether its masks know no sublayers.
    pub(super) fn skips_layers_whole(&self) -> bool {
        matches!(&self.decides, Decides::Routers(router) if router.granularity == Granularity::Layer)
    }

    /// Whether a sublayer runs whatever it says.
    fn protects(&self, layer: usize, sublayer: Sublayer) -> bool {
        let router = match &self.decides {
            Decides::Routers(router) => Some(router),
            Decides::Mask(..) => None,
        };
        router.is_some_and(|router| router.protected[layer][sublayer as usize])
    }

    /// Makes the engine serve as it was trained.
    pub(super) fn load(&self, engine: &mut Engine) -> anyhow::Result<()> {
        engine.set_adapter(self.adapter.as_ref())?;
        if let Decides::Routers(router) = &self.decides {
            engine.set_router(router)?;
        }
        Ok(())
    }

    /// What most of a task's prompts skip, on an engine that serves as it was trained.
    pub(super) fn mask(
        &self,
        engine: &Engine,
        task: &str,
        texts: &[Tokens],
        interrupted: &AtomicBool,
    ) -> anyhow::Result<LayerMask> {
        let router = match &self.decides {
            Decides::Routers(router) => router,
            Decides::Mask(Masking { mask, .. }) => {
                let share = engine.summary.skip_rate(mask);
                let what = skipping(mask, share);
                say!("{}: {what}, as all do with {}", task_name(task), self.name);
                return Ok(mask.clone());
            }
        };
        let masks = with_bar("routing", interrupted, |progress| -> Result<Vec<_>> {
            let mut counter = Counter::new(texts.len(), progress);
            let mut masks = Vec::new();
            for text in texts {
                let prompt = text.prompt();
                masks.push(engine.route(prompt, &router.decision())?.0);
                counter.one()?;
            }
            Ok(masks)
        })?;
        let mask = majority(&masks);
        let same = masks.iter().filter(|other| **other == mask).count();
        say!(
            "{}: {}, as {same} of {} prompts do exactly with {}",
            task_name(task),
            skipping(&mask, engine.summary.skip_rate(&mask)),
            masks.len(),
            self.name,
        );
        Ok(mask)
    }

    /// The mean loss of a task's answers under a mask, on an engine that serves as it was trained.
    fn loss(
        &self,
        engine: &Engine,
        texts: &[Tokens],
        mask: &LayerMask,
        journal: &mut Journal,
        interrupted: &AtomicBool,
    ) -> anyhow::Result<f64> {
        let masking = Masking::new(mask.clone(), self.prefill().unwrap_or_default());
        let loss = with_bar("measuring", interrupted, |progress| -> Result<f64> {
            let mut counter = Counter::new(texts.len(), progress);
            let mut sum = 0.0;
            for text in texts {
                let losses = || engine.losses(&text.ids, text.answer, &masking);
                sum += noted_loss(&self.digest, text, &masking, journal, losses)?;
                counter.one()?;
            }
            Ok(sum / texts.len() as f64)
        })?;
        say!("  loss {loss:.4} with it");
        Ok(loss)
    }
}

/// For each task the mask of a run; of several runs those masks that are worth taking, with the loss of the task's calibration
/// answers under each and its run's adapter.
pub(super) fn settled(
    engine: &mut Engine,
    runs: &[Trained],
    [fit, held_out]: [&Tasks; 2],
    journal: &mut Journal,
    interrupted: &AtomicBool,
) -> anyhow::Result<Vec<Vec<(LayerMask, f64)>>> {
    let mut paths = vec![Vec::new(); fit.len()];
    for run in runs {
        run.load(engine)?;
        for (path, (task, texts)) in paths.iter_mut().zip(fit) {
            let mask = run.mask(engine, task, texts, interrupted)?;
            let loss = match runs {
                [_] => 0.0,
                _ => run.loss(engine, &held_out[task], &mask, journal, interrupted)?,
            };
            path.push((mask, loss));
        }
    }
    let fronts = paths.into_iter().map(|masks| front(&engine.summary, masks));
    Ok(fronts.collect())
}

/// What masks concern: as asked for, or as in the runs to settle on.
pub(super) fn reading(
    asked: Option<PrefillReading>,
    runs: &[Trained],
) -> anyhow::Result<PrefillReading> {
    let mut readings = runs.iter().filter_map(Trained::prefill);
    let first = readings.next().unwrap_or_default();
    if let (Some(asked), [] | [_]) = (asked, runs) {
        return Ok(asked);
    }
    anyhow::ensure!(
        readings.chain(asked).all(|other| other == first),
        "what was lost by a mask for prompt and answer says nothing of one for the answer alone; settle on runs of one kind, as `--prefill` says"
    );
    Ok(first)
}

/// Several runs to settle on need a rate, and calibration answers of every task to compare them by.
pub(super) fn check(
    runs: &[PathBuf],
    rates: &[f32],
    [examples, held_out]: [&[Example]; 2],
) -> anyhow::Result<()> {
    if runs.len() < 2 {
        anyhow::ensure!(
            runs.is_empty() || rates.is_empty(),
            "one run skips what it skips; `--rates` is for several `--settle`, or none"
        );
        return Ok(());
    }
    anyhow::ensure!(
        !rates.is_empty(),
        "of several runs each task gets the mask of one; say with `--rates` how much all skip"
    );
    let has = |task: &Option<String>| held_out.iter().any(|other| other.task == *task);
    if let Some(example) = examples.iter().find(|example| !has(&example.task)) {
        anyhow::bail!(
            "runs are compared on examples that they were not trained with, and none is of task `{}`; give some with `--calibration`",
            task_name(example.task.as_deref().unwrap_or_default())
        );
    }
    Ok(())
}
