//! From the tasks' masks to routers, fitted and calibrated.

use super::Masks;
use crate::calibrate::meter::Counter;
use crate::cli::progress::with_bar;
use crate::cli::train::{THRESHOLDS, calibration_masks};
use crate::data::Tokens;
use crate::engine::Engine;
use crate::error::Result;
use crate::mask::{LayerMask, PrefillReading};
use crate::router::{CalibrationPoint, Granularity, Router, THRESHOLD};
use crate::train::run::Tasks;
use crate::train::{calibration, features, fit_routers};
use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

/// What routers are given of a prompt, `[layers][H]`.
type Input = Vec<Vec<f32>>;

/// What routers are fitted by, whatever they skip.
pub(super) struct Fitting<'a> {
    /// Texts of each task to fit them on.
    pub(super) texts: &'a Tasks,
    /// Others to calibrate them on.
    pub(super) held_out: &'a Tasks,
    pub(super) granularity: Granularity,
    pub(super) prefill: PrefillReading,
    pub(super) protected: &'a LayerMask,
    /// Weight of their squared weights.
    pub(super) decay: f32,
    pub(super) interrupted: &'a AtomicBool,
}

/// What fitted routers do on other prompts.
pub(super) struct Calibrated {
    pub(super) points: Vec<CalibrationPoint>,
    /// How many prompts get exactly their task's mask.
    pub(super) right: usize,
    pub(super) prompts: usize,
}

impl Fitting<'_> {
    /// Where every layer reads the prompts, routers of all masks are given the same.
    pub(super) fn shared_inputs(&self, engine: &Engine) -> Result<Option<Vec<Input>>> {
        match self.prefill {
            PrefillReading::Masked => Ok(None),
            PrefillReading::Full => {
                let full = LayerMask::full(engine.model.config.layers);
                self.inputs(engine, &|_| full.clone()).map(Some)
            }
        }
    }

    /// Routers that tell the tasks' masks apart, each on the path that its prompt's mask leaves.
    pub(super) fn router(
        &self,
        engine: &Engine,
        masks: &Masks<'_>,
        shared: Option<&[Input]>,
    ) -> Result<Router> {
        let inputs = match shared {
            Some(shared) => Cow::Borrowed(shared),
            None => Cow::Owned(self.inputs(engine, &|task| masks[task].clone())?),
        };
        let target = |(task, texts): (&String, &Vec<Tokens>)| {
            std::iter::repeat_n(&masks[task.as_str()], texts.len())
        };
        let targets = self.texts.iter().flat_map(target);
        let pairs: Vec<_> = inputs.iter().zip(targets).collect();
        Ok(Router {
            prefill: self.prefill,
            protected: self.protected.to_skipped(),
            ..fit_routers(&pairs, self.granularity, self.decay)
        })
    }

    /// What thresholds skip on other prompts, if there are any.
    pub(super) fn calibrate(
        &self,
        engine: &mut Engine,
        router: &Router,
        masks: &Masks<'_>,
    ) -> Result<Option<Calibrated>> {
        let at = calibration_masks(engine, router, self.held_out, self.interrupted)?;
        if at.is_empty() {
            return Ok(None);
        }
        let target = |(task, texts): (&String, &Vec<Tokens>)| {
            std::iter::repeat_n(masks.get(task.as_str()), texts.len())
        };
        let targets = self.held_out.iter().flat_map(target);
        let served = THRESHOLDS.iter().position(|point| *point == THRESHOLD);
        let served = served.expect("routers are fitted to it");
        let same = at.iter().zip(targets);
        let right = same.filter(|(at, target)| *target == Some(&at[served]));
        Ok(Some(Calibrated {
            right: right.count(),
            prompts: at.len(),
            points: calibration(&engine.summary, &THRESHOLDS, &at),
        }))
    }

    /// What routers are given of each text's prompt, on the path that its task's mask leaves.
    fn inputs(&self, engine: &Engine, mask: &dyn Fn(&str) -> LayerMask) -> Result<Vec<Input>> {
        let total = self.texts.values().map(Vec::len).sum();
        with_bar("reading prompts", self.interrupted, |progress| {
            let mut counter = Counter::new(total, progress);
            let mut inputs = Vec::new();
            for (task, texts) in self.texts {
                let mask = mask(task);
                for text in texts {
                    inputs.push(features(engine, text.prompt(), &mask)?);
                    counter.one()?;
                }
            }
            Ok(inputs)
        })
    }
}
