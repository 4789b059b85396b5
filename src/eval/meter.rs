//! An engine whose results are noted, so that nothing is measured twice.

use super::metrics::Metric;
use super::{Adapter, Candidate, Item, Masks, Measured};
use crate::calibrate::meter::noted_loss;
use crate::data::Tokens;
use crate::engine::inspect::Way;
use crate::engine::{Engine, Policy, Request};
use crate::error::{Error, Result};
use crate::file::digest;
use crate::journal::{Journal, Key};
use crate::mask::{LayerMask, Masking, PrefillReading};
use crate::router::{Decision, Router};
use crate::trace::ModelSummary;
use std::ops::ControlFlow;

/// Gives an engine another adapter, or none. It takes the engine, since there may not be room for two.
pub type Load<'a> = dyn FnMut(Engine, Option<usize>) -> Result<Engine> + 'a;

/// Bytes of keys and values from which on a prompt that was read gives way to the next.
const KEPT_BYTES: u64 = 512 << 20;

/// An engine, and prompts that it has read with every layer: masks of one answer share them.
struct Reader {
    /// There, but while it is given another adapter.
    engine: Option<Engine>,
    /// A digest of the routers that the engine has, or nothing. They have scored the prompts.
    router: String,
    read: Vec<(Tokens, Way)>,
}

impl Reader {
    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("no load has failed")
    }

    fn engine_mut(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("no load has failed")
    }

    /// The mask that routers, of which a digest is given, give a text.
    fn route(
        &mut self,
        id: &str,
        (router, decision): (&Router, &Decision),
        text: &Tokens,
    ) -> Result<LayerMask> {
        if self.router != id {
            self.engine_mut().set_router(router)?;
            self.router = id.to_owned();
            self.read.clear();
        }
        // The answer must not help to choose the mask that it is measured under.
        match router.prefill {
            PrefillReading::Masked => {
                let prompt = text.prompt();
                let (mask, _) = self.engine_mut().route(prompt, decision)?;
                Ok(mask)
            }
            PrefillReading::Full => Ok(decision.mask(self.way(text)?.1.scores())),
        }
    }

    /// A text whose prompt every layer has read.
    fn way(&mut self, text: &Tokens) -> Result<(&Engine, &Way)> {
        let known = self.read.iter().position(|(of, _)| of == text);
        let index = match known {
            Some(index) => index,
            None => {
                // The last, so that a search, which goes through its texts again and again, finds the first.
                while self.read.iter().map(|(_, way)| way.bytes()).sum::<u64>() > KEPT_BYTES {
                    self.read.pop();
                }
                let way = self.engine().scored_way(&text.ids, text.answer)?;
                self.read.push((text.clone(), way));
                self.read.len() - 1
            }
        };
        Ok((self.engine(), &self.read[index].1))
    }

    fn losses(&mut self, text: &Tokens, masking: &Masking) -> Result<Vec<f32>> {
        match masking.prefill {
            PrefillReading::Masked => {
                let engine = self.engine();
                engine.losses(&text.ids, text.answer, masking)
            }
            PrefillReading::Full => {
                let (engine, way) = self.way(text)?;
                engine.losses_beside(way, None, text.answer, &masking.mask)
            }
        }
    }
}

/// An engine whose results are noted.
pub struct Meter<'a> {
    load: &'a mut Load<'a>,
    adapters: &'a [Adapter],
    reader: Reader,
    // Of the engine without an adapter: one that is merged has other bytes.
    summary: ModelSummary,
    adapter: Option<usize>,
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
            summary: engine.summary.clone(),
            reader: Reader {
                engine: Some(engine),
                router: String::new(),
                read: Vec::new(),
            },
            adapter: None,
            journal,
        }
    }

    /// The engine.
    ///
    /// # Panics
    /// If it could not be given another adapter.
    pub fn engine(&self) -> &Engine {
        self.reader.engine()
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
            (self.reader.router, self.reader.read) = (String::new(), Vec::new());
            let engine = self.reader.engine.take();
            let engine = engine.expect("no load has failed");
            self.reader.engine = Some((self.load)(engine, adapter)?);
            self.adapter = adapter;
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
        let id = |decision: Option<&Decision>| {
            let weights: &[u8] = bytemuck::cast_slice(&router.weights);
            let rest = (&router.biases, router.epsilon, router.prefill, decision);
            let rest = serde_json::to_vec(&rest).expect("plain data");
            digest(&[weights, &rest].concat())
        };
        let prompt = item.tokens.prompt();
        let key = Key::Mask {
            adapter: self.adapter_key(),
            router: id(Some(decision)),
            prompt: digest(bytemuck::cast_slice(prompt)),
        };
        let reader = &mut self.reader;
        let skipped = self.journal.text(key, || {
            let mask = reader.route(&id(None), (router, decision), &item.tokens)?;
            Ok(mask.to_string())
        })?;
        let layers = self.engine().summary.layers;
        let damaged = |error: Error| self.journal.damaged(error.message());
        LayerMask::parse(&skipped, layers).map_err(damaged)
    }

    /// Mean loss of an answer's tokens, in nats.
    pub(super) fn loss(&mut self, item: &Item, masking: &Masking) -> Result<f64> {
        let (adapter, text) = (self.adapter_key(), &item.tokens);
        let losses = || self.reader.losses(text, masking);
        noted_loss(&adapter, text, masking, &mut self.journal, losses)
    }

    /// What the model answers, most likely token by most likely token.
    fn answer(&mut self, item: &Item, masking: &Masking, max_tokens: usize) -> Result<String> {
        let prompt = item.tokens.prompt();
        // Not those that the context has no room for.
        let context = self.engine().model.config.context;
        let max_tokens = max_tokens.min(context.saturating_sub(prompt.len()));
        let key = Key::Answer {
            adapter: self.adapter_key(),
            skipped: masking.mask.to_string(),
            prefill: masking.prefill,
            prompt: digest(bytemuck::cast_slice(prompt)),
            max_tokens,
        };
        let engine = self.reader.engine_mut();
        self.journal.text(key, || {
            let policy = Policy::Fixed(masking.clone());
            let request = Request {
                stop_at_end: true,
                ..Request::new(prompt.to_vec(), policy, max_tokens)
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
        let masking = |mask: &LayerMask| Masking::new(mask.clone(), candidate.prefill);
        let maskings: Vec<_> = masks.iter().map(masking).collect();
        let mean = |sum: f64| sum / masks.len() as f64;
        let mut loss = 0.0;
        for masking in &maskings {
            loss += self.loss(item, masking)?;
        }
        let mut answers = Vec::new();
        // Only what is scored is worth the time.
        if let Some(max_tokens) = answer_tokens.filter(|_| !Metric::of_task(&item.task).is_empty())
        {
            for masking in &maskings {
                answers.push(self.answer(item, masking, max_tokens)?);
            }
        }
        let rates = masks.iter().map(|mask| self.summary.skip_rate(mask));
        Ok(Measured {
            skipped: mean(rates.sum()),
            loss: mean(loss),
            masks: masks.iter().map(LayerMask::to_string).collect(),
            answers,
        })
    }
}
