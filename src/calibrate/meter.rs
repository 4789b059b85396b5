//! What a mask costs: the loss of some examples' answers under it, measured once.

use crate::data::Tokens;
use crate::engine::Engine;
use crate::engine::inspect::Way;
use crate::error::{Error, Result};
use crate::file::digest;
use crate::journal::{Journal, Key};
use crate::mask::{LayerMask, Masking, PrefillReading};
use serde::Serialize;
use std::ops::ControlFlow;

/// What the loss of a token is taken against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// The token that follows.
    Answers,
    /// What the model says when it skips nothing: the loss is more than the full model's own by the Kullback-Leibler
    /// divergence between them.
    Model,
}

/// Hears of work done, of how much, and may stop it.
pub type Progress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// What measures a mask's loss.
pub trait Measure {
    /// The loss under a mask.
    fn loss(&mut self, mask: &LayerMask) -> Result<f64>;

    /// Says that masks measured from now on skip what this one skips and more, so that their way may be shared.
    fn go_on_from(&mut self, _mask: &LayerMask) {}
}

impl<F: FnMut(&LayerMask) -> Result<f64>> Measure for F {
    fn loss(&mut self, mask: &LayerMask) -> Result<f64> {
        self(mask)
    }
}

/// The mean loss of an answer's tokens under a mask, which must be a number.
pub(crate) fn answer_loss(losses: &[f32], mask: &LayerMask) -> Result<f64> {
    let sum: f64 = losses.iter().map(|loss| f64::from(*loss)).sum();
    let mean = sum / losses.len() as f64;
    if mean.is_finite() {
        return Ok(mean);
    }
    Err(Error::gpu(
        format!("the loss of an answer is {mean} with `{mask}` skipped"),
        "the model or the LoRA adapter may be damaged, or the driver is at fault: try another GPU (`--device`)",
    ))
}

/// The mean loss of an answer's tokens under a mask, of its prompt too or not, and an adapter, of which a digest is given,
/// or nothing; measured once, by `losses`.
pub(crate) fn noted_loss(
    adapter: &str,
    example: &Tokens,
    masking: &Masking,
    journal: &mut Journal,
    losses: impl FnOnce() -> Result<Vec<f32>>,
) -> Result<f64> {
    let key = Key::Loss {
        adapter: adapter.to_owned(),
        skipped: masking.mask.to_string(),
        prefill: masking.prefill,
        example: digest(&example.bytes()),
    };
    journal.loss(key, || answer_loss(&losses()?, &masking.mask))
}

/// Counts work, says so, and stops when told to.
pub(crate) struct Counter<'a, 'p> {
    done: u64,
    total: u64,
    progress: &'a mut Progress<'p>,
}

impl<'a, 'p> Counter<'a, 'p> {
    pub(crate) fn new(total: usize, progress: &'a mut Progress<'p>) -> Self {
        Self {
            done: 0,
            total: total as u64,
            progress,
        }
    }

    /// One more is done.
    pub(crate) fn one(&mut self) -> Result<()> {
        self.done += 1;
        match (self.progress)(self.done.min(self.total), self.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}

/// Bytes of streams that a meter keeps of the full model and as many of one mask, at most, but for the last of each
/// example; and where every layer reads the prompts, all their keys and values besides.
const KEPT_BYTES: usize = 256 << 20;

/// Measures the mean loss of some examples' answers under masks, in nats: first over the tokens of an answer, then over
/// the answers.
///
/// Against what the full model says, a few examples tell masks apart: the loss then rises by the divergence from it, which
/// is never below 0, while a mask may happen to like the words of a few answers.
pub struct LossMeter<'a, 'p> {
    engine: &'a Engine,
    examples: &'a [Tokens],
    /// The way of each example through all layers.
    full: Vec<Way>,
    /// The mask that those measured go on from, and once one was measured the way of each example under it.
    trunk: (LayerMask, Option<Vec<Way>>),
    spacing: usize,
    against: Against,
    prefill: PrefillReading,
    counter: Counter<'a, 'p>,
}

impl<'a, 'p> LossMeter<'a, 'p> {
    /// A meter that is asked about `total` times.
    pub fn new(
        engine: &'a Engine,
        examples: &'a [Tokens],
        (against, prefill): (Against, PrefillReading),
        total: usize,
        progress: &'a mut Progress<'p>,
    ) -> Result<Self> {
        let config = &engine.model.config;
        let whole = |example: &Tokens| prefill.whole(example.answer);
        let own = |example: &Tokens| example.ids.len() - whole(example);
        let tokens: usize = examples.iter().map(own).sum();
        let all = 4 * tokens * config.hidden * config.layers;
        let spacing = all.div_ceil(KEPT_BYTES).max(3);
        let way = |example: &Tokens| engine.full_way(&example.ids, whole(example), spacing);
        Ok(Self {
            engine,
            examples,
            full: examples.iter().map(way).collect::<Result<_>>()?,
            trunk: (LayerMask::full(config.layers), None),
            spacing,
            against,
            prefill,
            counter: Counter::new(total, progress),
        })
    }
}

impl Measure for LossMeter<'_, '_> {
    fn loss(&mut self, mask: &LayerMask) -> Result<f64> {
        let (trunk, ways) = &mut self.trunk;
        if ways.is_none() && !trunk.is_full() {
            let way = |full| self.engine.way_beside(full, trunk, self.spacing);
            *ways = Some(self.full.iter().map(way).collect::<Result<_>>()?);
        }
        let trunk = ways.as_ref().unwrap_or(&self.full);
        let mut sum = 0.0;
        for ((way, full), example) in trunk.iter().zip(&self.full).zip(self.examples) {
            let teacher = (self.against == Against::Model).then_some(full);
            let answer = example.answer;
            let losses = self.engine.losses_beside(way, teacher, answer, mask)?;
            sum += answer_loss(&losses, mask)?;
        }
        self.counter.one()?;
        Ok(sum / self.full.len() as f64)
    }

    fn go_on_from(&mut self, mask: &LayerMask) {
        self.trunk = (mask.clone(), None);
    }
}

/// A meter whose results are noted: what was measured is not measured again, not even by a search
/// that was interrupted.
pub struct Noted<'a, 'e, 'p> {
    meter: LossMeter<'e, 'p>,
    journal: &'a mut Journal,
    adapter: &'a str,
    examples: String,
}

impl<'a, 'e, 'p> Noted<'a, 'e, 'p> {
    /// Notes what a meter measures with an adapter, of which a digest is given, or nothing.
    pub fn new(meter: LossMeter<'e, 'p>, journal: &'a mut Journal, adapter: &'a str) -> Self {
        let how = (meter.against, meter.prefill);
        let mut bytes = serde_json::to_vec(&how).expect("plain data");
        bytes.extend(meter.examples.iter().flat_map(Tokens::bytes));
        Self {
            meter,
            journal,
            adapter,
            examples: digest(&bytes),
        }
    }
}

impl Measure for Noted<'_, '_, '_> {
    fn loss(&mut self, mask: &LayerMask) -> Result<f64> {
        let key = Key::Search {
            adapter: self.adapter.to_owned(),
            skipped: mask.to_string(),
            examples: self.examples.clone(),
        };
        self.journal.loss(key, || self.meter.loss(mask))
    }

    fn go_on_from(&mut self, mask: &LayerMask) {
        self.meter.go_on_from(mask);
    }
}
