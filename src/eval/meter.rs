//! An engine whose results are noted, so that nothing is measured twice.

use super::metrics::Metric;
use super::{Adapter, Candidate, Item, Masks, Measured};
use crate::calibrate::meter::noted_loss;
use crate::engine::{Engine, Policy, Request};
use crate::error::Result;
use crate::file::digest;
use crate::journal::{Journal, Key};
use crate::mask::LayerMask;
use crate::router::{Decision, PrefillReading, Router};
use crate::trace::{Detail, Sampling};
use crate::train::routed_mask;
use std::ops::ControlFlow;

/// Gives an engine another adapter, or none.
pub type Load<'a> = dyn FnMut(&mut Engine, Option<usize>) -> Result<()> + 'a;

/// An engine whose results are noted.
pub struct Meter<'a> {
    load: &'a mut Load<'a>,
    adapters: &'a [Adapter],
    engine: Engine,
    adapter: Option<usize>,
    router: String,
    journal: Journal,
}

impl<'a> Meter<'a> {
    /// Measures with `engine`, which has no adapter; `load` gives it others.
    pub fn new(
        engine: Engine,
        load: &'a mut Load<'a>,
        adapters: &'a [Adapter],
        journal: Journal,
    ) -> Self {
        Self {
            load,
            adapters,
            engine,
            adapter: None,
            router: String::new(),
            journal,
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The adapters that candidates may have.
    pub(super) fn adapters(&self) -> &'a [Adapter] {
        self.adapters
    }

    fn adapter_key(&self) -> String {
        let digest = |index: usize| self.adapters[index].digest.clone();
        self.adapter.map(digest).unwrap_or_default()
    }

    /// Sees to the engine's adapter.
    pub(super) fn set_adapter(&mut self, adapter: Option<usize>) -> Result<()> {
        if self.adapter != adapter {
            (self.load)(&mut self.engine, adapter)?;
            (self.adapter, self.router) = (adapter, String::new());
        }
        Ok(())
    }

    /// The masks of a candidate for an item.
    pub(super) fn masks(&mut self, candidate: &Candidate, item: &Item) -> Result<Vec<LayerMask>> {
        self.set_adapter(candidate.adapter)?;
        Ok(match &candidate.masks {
            Masks::Fixed(mask) => vec![mask.clone()],
            Masks::Several(masks) => masks.clone(),
            Masks::PerTask(masks) => vec![masks[&item.task].clone()],
            Masks::Routed(router, decision) => vec![self.route(router, decision, item)?],
        })
    }

    fn route(&mut self, router: &Router, decision: &Decision, item: &Item) -> Result<LayerMask> {
        let weights: &[u8] = bytemuck::cast_slice(&router.weights);
        let mut text = format!("{:?} {:?} {decision:?}", router.biases, router.epsilon);
        if !router.prefill.is_masked() {
            text += &format!(" {:?}", router.prefill);
        }
        let id = digest(&[weights, text.as_bytes()].concat());
        // The answer must not help to choose the mask that it is measured under.
        let prompt = &item.tokens.ids[..item.tokens.answer];
        let key = Key::Mask {
            adapter: self.adapter_key(),
            router: id.clone(),
            prompt: digest(bytemuck::cast_slice(prompt)),
        };
        let (engine, current) = (&mut self.engine, &mut self.router);
        let skipped = self.journal.text(key, || {
            if *current != id {
                engine.set_router(router)?;
                *current = id;
            }
            Ok(routed_mask(engine, prompt, decision)?.to_string())
        })?;
        LayerMask::parse(&skipped, self.engine.summary.layers)
    }

    /// Mean loss of an answer's tokens, in nats.
    pub(super) fn loss(
        &mut self,
        item: &Item,
        masking: (&LayerMask, PrefillReading),
    ) -> Result<f64> {
        let adapter = self.adapter_key();
        noted_loss(
            &self.engine,
            &adapter,
            &item.tokens,
            masking,
            &mut self.journal,
        )
    }

    /// What the model answers, most likely token by most likely token.
    fn answer(
        &mut self,
        item: &Item,
        (mask, prefill): (&LayerMask, PrefillReading),
        max_tokens: usize,
    ) -> Result<String> {
        let prompt = &item.tokens.ids[..item.tokens.answer];
        let key = Key::Answer {
            adapter: self.adapter_key(),
            skipped: mask.to_string(),
            prefill,
            prompt: digest(bytemuck::cast_slice(prompt)),
            max_tokens,
        };
        let engine = &mut self.engine;
        self.journal.text(key, || {
            let request = Request {
                prompt: String::new(),
                ids: prompt.to_vec(),
                policy: Policy::fixed(mask.clone(), prefill),
                policy_name: String::new(),
                max_tokens,
                sampling: Sampling::default(),
                detail: Detail::None,
                stop_at_end: true,
            };
            engine.reset();
            let run = engine.generate(&request, &mut |_| ControlFlow::Continue(()))?;
            engine.reset();
            Ok(run.answer)
        })
    }

    /// Measures a candidate on an item.
    pub(super) fn measure(
        &mut self,
        candidate: &Candidate,
        item: &Item,
        answer_tokens: Option<usize>,
    ) -> Result<Measured> {
        let masks = self.masks(candidate, item)?;
        let mean = |sum: f64| sum / masks.len() as f64;
        let mut loss = 0.0;
        for mask in &masks {
            loss += self.loss(item, (mask, candidate.prefill))?;
        }
        let mut answers = Vec::new();
        // Only what is scored is worth the time.
        if let Some(max_tokens) = answer_tokens.filter(|_| !Metric::of_task(&item.task).is_empty())
        {
            for mask in &masks {
                let masking = (mask, candidate.prefill);
                answers.push(self.answer(item, masking, max_tokens)?);
            }
        }
        let rates = masks.iter().map(|mask| self.engine.summary.skip_rate(mask));
        Ok(Measured {
            skipped: mean(rates.sum()),
            loss: mean(loss),
            masks: masks.iter().map(LayerMask::to_string).collect(),
            answers,
        })
    }
}
