//! Prefill: the prompt through the layers, one layer at a time, and the decision which of them run.

use super::pacing::{effort, paced};
use super::scoring::Scoring;
use super::{Conversation, Engine, Event, Listener, Policy, Request};
use crate::error::{Error, Result};
use crate::gpu::plan::Timestamps;
use crate::gpu::{Gpu, Plan, Step};
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use crate::model::buffers::Prefill;
use crate::model::kv_cache::KvCache;
use crate::trace::{Detail, Run, Submission};
use std::ops::ControlFlow;
use std::time::Instant;

/// Steps that wait to be submitted, and what the trace learns when they are.
struct Pending<'a> {
    gpu: &'a Gpu,
    clock: &'a Instant,
    detail: Detail,
    steps: Vec<Step>,
    /// Work that was submitted and not waited for.
    unwaited: u64,
}

impl Pending<'_> {
    /// Waits once there is a submission's work to wait for: what a listener hears is then true, and it can interrupt.
    fn keep_up(&mut self) -> Result<()> {
        if self.unwaited > self.gpu.submission_flops() {
            self.gpu.wait()?;
            self.unwaited = 0;
        }
        Ok(())
    }

    /// Submits what waits; the last submission ends with what `after` records.
    fn submit(&mut self, run: &mut Run, after: impl Fn(&mut wgpu::CommandEncoder)) -> Result<()> {
        let steps = std::mem::take(&mut self.steps);
        let efforts = steps.iter().map(|step| effort(self.gpu, step));
        self.unwaited += efforts.sum::<u64>();
        let groups = paced(self.gpu, steps);
        let last = groups.len().saturating_sub(1);
        for (index, steps) in groups.into_iter().enumerate() {
            let plan = Plan::new(self.gpu, steps)?;
            let start_nanos = self.clock.elapsed().as_nanos() as u64;
            let dispatches = plan.steps().len() as u32;
            run.prefill_dispatches += dispatches;
            let timestamps = Timestamps::new(self.gpu, &plan, self.detail)?;
            let timestamps = timestamps.as_ref();
            let (encode_nanos, submit_nanos) = plan.submit(self.gpu, timestamps, |encoder| {
                if index == last {
                    after(encoder);
                }
            });
            if self.detail != Detail::None {
                self.unwaited = 0;
                let submission = Submission {
                    token: 0,
                    start_nanos,
                    encode_nanos,
                    submit_nanos,
                    wall_nanos: 0,
                    dispatches,
                };
                super::note(self.gpu, self.clock, run, &plan, submission, timestamps)?;
            }
        }
        Ok(())
    }
}

/// A prompt on its way through the layers.
struct Pass<'a> {
    engine: &'a Engine,
    prefill: &'a Prefill,
    scoring: Option<Scoring<'a>>,
    pending: Pending<'a>,
    run: &'a mut Run,
    listener: &'a mut Listener<'a>,
}

impl Pass<'_> {
    /// The layers that a mask leaves, of which each is decided before it is encoded.
    fn masked(&mut self, conversation: &mut Conversation) -> Result<()> {
        for layer in 0..self.layers() {
            let asked = self.ask(layer)?;
            if let (true, Some(scoring)) = (asked, &self.scoring) {
                self.pending
                    .submit(self.run, |encoder| scoring.record(layer, encoder))?;
                scoring.request(layer);
            }
            // Prepared while the GPU scores the layer; what the scores leave out is never encoded.
            let mut prepared = Vec::new();
            for sublayer in Sublayer::BOTH {
                if conversation.mask.runs(layer, sublayer) {
                    let steps = self.steps(&mut conversation.cache, layer, sublayer)?;
                    prepared.push((sublayer, steps));
                }
            }
            self.decide(layer, conversation)?;
            if asked {
                self.pending.unwaited = 0;
            }
            for (sublayer, steps) in prepared {
                if conversation.mask.runs(layer, sublayer) {
                    self.pending.steps.extend(steps);
                }
            }
            conversation.forget_skipped(layer);
            self.pending.submit(self.run, |_| {})?;
            self.advance(layer)?;
        }
        Ok(())
    }

    /// All layers, none of which waits for what the routers say; then what the answer skips, of which keys and values are
    /// kept or not.
    fn full(&mut self, conversation: &mut Conversation, kept: bool) -> Result<()> {
        for layer in 0..self.layers() {
            let asked = self.ask(layer)?;
            for sublayer in Sublayer::BOTH {
                let steps = self.steps(&mut conversation.cache, layer, sublayer)?;
                self.pending.steps.extend(steps);
            }
            let scoring = self.scoring.as_ref().filter(|_| asked);
            self.pending.submit(self.run, |encoder| {
                if let Some(scoring) = scoring {
                    scoring.record(layer, encoder);
                }
            })?;
            if let Some(scoring) = scoring {
                scoring.request(layer);
            }
            self.advance(layer)?;
        }
        for layer in 0..self.layers() {
            self.decide(layer, conversation)?;
            if !kept {
                conversation.forget_skipped(layer);
            }
        }
        Ok(())
    }

    fn layers(&self) -> usize {
        self.engine.model.config.layers
    }

    /// Adds the steps that score a layer's input, if that has to be asked for.
    fn ask(&mut self, layer: usize) -> Result<bool> {
        let Some(scoring) = self.scoring.as_ref().filter(|scoring| scoring.asks(layer)) else {
            return Ok(false);
        };
        let steps = scoring.steps(&self.engine.model, self.prefill, layer)?;
        self.pending.steps.extend(steps);
        Ok(true)
    }

    /// Sets what the conversation's mask says of a layer, if routers say it.
    fn decide(&mut self, layer: usize, conversation: &mut Conversation) -> Result<()> {
        match &self.scoring {
            Some(scoring) => scoring.decide(layer, &mut conversation.mask, self.run),
            None => Ok(()),
        }
    }

    /// The steps of a sublayer; of the last layer, only what the last token's residual stream takes.
    fn steps(&self, cache: &mut KvCache, layer: usize, sublayer: Sublayer) -> Result<Vec<Step>> {
        let wanted = if layer + 1 == self.layers() {
            self.prefill.last_wanted(&self.engine.model.config)
        } else {
            0
        };
        self.engine
            .sublayer_steps(self.prefill, cache, (layer, sublayer), wanted)
    }

    /// Tells of a layer whose work was submitted: it goes on while later ones are encoded.
    fn advance(&mut self, layer: usize) -> Result<()> {
        self.pending.keep_up()?;
        let event = Event::Prefill(layer + 1, self.layers());
        match (self.listener)(event) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}

impl Engine {
    /// Reads a prompt; the conversation that comes back has its keys and values, and the last token's
    /// residual stream is in the decode buffers.
    pub(super) fn prefill(
        &mut self,
        request: &Request,
        max_tokens: usize,
        clock: &Instant,
        run: &mut Run,
        listener: &mut Listener<'_>,
    ) -> Result<Conversation> {
        let positions = request.ids.len() + max_tokens;
        let begun = self.conversation_for(request, positions)?;
        self.go_on(begun, request, clock, run, listener)
    }

    /// Reads what a conversation does not know yet, of which it knows the first tokens.
    pub(super) fn go_on(
        &self,
        (mut conversation, known): (Conversation, usize),
        request: &Request,
        clock: &Instant,
        run: &mut Run,
        listener: &mut Listener<'_>,
    ) -> Result<Conversation> {
        let ids = &request.ids;
        run.cached_tokens = known;
        let prefill = self
            .model
            .prefill_buffers(&self.gpu, &ids[known..], known)?;
        let pending = Pending {
            gpu: &self.gpu,
            clock,
            detail: request.detail,
            steps: self.model.embed_steps(&self.gpu, &prefill)?,
            unwaited: 0,
        };
        let before = std::mem::take(&mut conversation.scores);
        let scoring = match (&request.policy, &self.router) {
            (Policy::Routed(decision), Some(router)) => {
                let tokens = prefill.tokens();
                Some(Scoring::new(&self.gpu, router, decision, tokens, before))
            }
            _ => None,
        };
        let mut pass = Pass {
            engine: self,
            prefill: &prefill,
            scoring,
            pending,
            run,
            listener,
        };
        let reading = self.reading(&request.policy);
        let kept = reading == PrefillReading::Full && request.keep_prompt;
        match reading {
            PrefillReading::Masked => pass.masked(&mut conversation)?,
            PrefillReading::Full => pass.full(&mut conversation, kept)?,
        }
        conversation.prompt = 0;
        if kept {
            conversation.prompt = ids.len();
            let scores = run.scores.iter().map(|score| score.tokens.clone());
            conversation.scores = scores.collect();
        }
        prefill
            .last(self.model.config.hidden)
            .copy_to(&self.gpu, &self.decode.x);
        let last = ids.len() - 1;
        // The sampler advances the position to the new token's.
        self.decode
            .state
            .write(&self.gpu, &[ids[last], last as u32, 0, 0]);
        conversation.ids = ids.to_vec();
        run.mask = conversation.mask.clone();
        let _ = listener(Event::Mask(&conversation.mask, &run.scores));
        Ok(conversation)
    }

    /// The steps of a sublayer over a prompt, with room for its keys and values; see `Llama::prefill_steps`.
    pub(super) fn sublayer_steps(
        &self,
        prefill: &Prefill,
        cache: &mut KvCache,
        (layer, sublayer): (usize, Sublayer),
        wanted: usize,
    ) -> Result<Vec<Step>> {
        if sublayer == Sublayer::Attn {
            cache.allocate(&self.gpu, layer)?;
        }
        self.model
            .prefill_steps(&self.gpu, prefill, cache, (layer, sublayer), wanted)
    }

    /// The conversation that a request goes on with, and how many of its tokens the cache already has.
    fn conversation_for(
        &mut self,
        request: &Request,
        positions: usize,
    ) -> Result<(Conversation, usize)> {
        let config = &self.model.config;
        let (ids, positions) = (&request.ids, positions.min(config.context));
        match (&request.policy, self.conversation.take()) {
            (Policy::Sticky, Some(mut conversation)) => {
                let known = conversation.alike(ids);
                conversation.cache.grow(&self.gpu, config, positions)?;
                // At least the last token goes through the layers: its logits are wanted.
                Ok((conversation, known.min(ids.len() - 1)))
            }
            (policy, before) => {
                let mut conversation = self.new_conversation(policy, positions)?;
                let Some(before) = before.filter(|before| self.is_read_alike(policy, before))
                else {
                    return Ok((conversation, 0));
                };
                let known = before.alike(ids).min(before.prompt).min(ids.len() - 1);
                conversation.cache = before.cache;
                conversation.cache.grow(&self.gpu, config, positions)?;
                conversation.scores = before.scores;
                for scores in &mut conversation.scores {
                    scores.truncate(known);
                }
                Ok((conversation, known))
            }
        }
    }

    /// Whether a policy reads a prompt as another conversation's was read, and what it asks of that is known.
    fn is_read_alike(&self, policy: &Policy, before: &Conversation) -> bool {
        let asked = match (policy, &self.router) {
            (Policy::Routed(_), Some(router)) => router.count(),
            _ => 0,
        };
        let full = self.reading(policy) == PrefillReading::Full;
        full && before.prompt > 0 && (asked == 0 || before.scores.len() == asked)
    }

    /// A conversation in which nothing was said yet.
    pub(super) fn new_conversation(
        &self,
        policy: &Policy,
        positions: usize,
    ) -> Result<Conversation> {
        let config = &self.model.config;
        let mask = match policy {
            Policy::Fixed(masking) => masking.mask.clone(),
            Policy::Routed(_) if self.router.is_some() => LayerMask::full(config.layers),
            Policy::Routed(_) => {
                return Err(Error::input(
                    "no router is loaded",
                    "give one with `--router DIR`",
                ));
            }
            Policy::Sticky => {
                return Err(Error::input(
                    "there is no conversation to go on with",
                    "begin one first",
                ));
            }
        };
        Ok(Conversation {
            ids: Vec::new(),
            mask,
            cache: KvCache::new(config, self.kv, positions),
            prompt: 0,
            scores: Vec::new(),
        })
    }
}
