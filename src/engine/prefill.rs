//! Prefill: the prompt through the layers, one layer at a time, and the decision which of them run.

use super::{Conversation, Engine, Event, Listener, Policy, Request};
use crate::error::{Error, Result};
use crate::gpu::plan::Timestamps;
use crate::gpu::read_back::ReadBack;
use crate::gpu::{Buffer, Gpu, Plan, Step};
use crate::kernels::router_score::Routers;
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use crate::model::buffers::Prefill;
use crate::model::kv_cache::KvCache;
use crate::model::llama::Llama;
use crate::reference::router_score::{pool, sigmoid};
use crate::router::{Decision, Granularity, Router};
use crate::trace::{Detail, Run, Score, Submission};
use std::time::Instant;

/// A router on the GPU.
pub(super) struct GpuRouter {
    /// `[routers, H]` and `[routers]` of each layer.
    layers: Vec<(Buffer, Buffer)>,
    /// What the routers of a layer say of any token, where none has weights: nothing is asked then, and nothing waited for.
    known: Vec<Option<Vec<f32>>>,
    pub(super) granularity: Granularity,
    epsilon: Option<f32>,
    pub(super) reading: PrefillReading,
    /// `[routers, C]`.
    scores: Buffer,
    context: usize,
}

impl GpuRouter {
    pub(super) fn new(gpu: &Gpu, router: &Router, context: usize) -> Result<Self> {
        let count = router.granularity.routers_per_layer();
        let hidden = router.hidden();
        let of = |layer: usize| {
            let weights = &router.weights[layer * count * hidden..][..count * hidden];
            (weights, &router.biases[layer * count..][..count])
        };
        let upload = |layer: usize| {
            let (weights, biases) = of(layer);
            let label = format!("L{layer:02}.router");
            Ok((
                Buffer::from_slice(gpu, &label, weights)?,
                Buffer::from_slice(gpu, &label, biases)?,
            ))
        };
        let known = |layer: usize| {
            let (weights, biases) = of(layer);
            let score = |bias: &f32| sigmoid(f64::from(*bias));
            let none = weights.iter().all(|weight| *weight == 0.0);
            none.then(|| biases.iter().map(score).collect())
        };
        Ok(Self {
            layers: (0..router.layers()).map(upload).collect::<Result<_>>()?,
            known: (0..router.layers()).map(known).collect(),
            granularity: router.granularity,
            epsilon: router.epsilon,
            reading: router.prefill,
            scores: Buffer::zeroed(gpu, "scores", (4 * count * context) as u64)?,
            context,
        })
    }

    /// Routers of all layers.
    fn count(&self) -> usize {
        self.layers.len() * self.granularity.routers_per_layer()
    }

    fn routers(&self, layer: usize) -> Routers<'_> {
        let (weights, biases) = &self.layers[layer];
        let count = self.granularity.routers_per_layer();
        Routers {
            weights,
            biases,
            count,
            epsilon: self.epsilon,
            scores: &self.scores,
            stride: self.context,
        }
    }

    /// The scores of one router of a layer, of a prompt's tokens.
    fn scores(&self, index: usize, tokens: usize) -> Buffer {
        let bytes = |count: usize| 4 * count as u64;
        self.scores
            .slice(bytes(index * self.context), bytes(tokens))
    }
}

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
    /// Waits once there is a submission's work to wait for: what a listener hears is then true, and it can break off.
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
        let efforts = steps.iter().map(|step| super::effort(self.gpu, step));
        self.unwaited += efforts.sum::<u64>();
        let groups = super::paced(self.gpu, steps);
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
        let mut pending = Pending {
            gpu: &self.gpu,
            clock,
            detail: request.detail,
            steps: self.model.embed_steps(&self.gpu, &prefill)?,
            unwaited: 0,
        };
        let layers = self.model.config.layers;
        let before = std::mem::take(&mut conversation.scores);
        let scoring = self.scoring(&prefill, &request.policy, before);
        // Then no layer waits for what the routers say.
        let whole = self.reading(&request.policy) == PrefillReading::Full;
        let kept = whole && request.keep_prompt;
        for layer in 0..layers {
            if let Some(scoring) = &scoring {
                scoring.submit(&self.model, &prefill, layer, &mut pending, run)?;
            }
            // Prepared while the GPU scores the layer; what the scores leave out is never encoded.
            let mut prepared = Vec::new();
            for sublayer in Sublayer::BOTH {
                if !conversation.mask.runs(layer, sublayer) && !whole {
                    continue;
                }
                if sublayer == Sublayer::Attn {
                    conversation.cache.allocate(&self.gpu, layer)?;
                }
                let cache = &conversation.cache;
                let steps = self
                    .model
                    .prefill_steps(&self.gpu, &prefill, cache, layer, sublayer)?;
                prepared.push((sublayer, steps));
            }
            if let Some(scoring) = scoring.as_ref().filter(|_| !whole)
                && scoring.decide(layer, &mut conversation.mask, run)?
            {
                pending.unwaited = 0;
            }
            for (sublayer, steps) in prepared {
                if whole || conversation.mask.runs(layer, sublayer) {
                    pending.steps.extend(steps);
                }
            }
            if !whole {
                conversation.forget_skipped(layer);
            }
            // Work starts while later layers are being encoded, and a listener hears of real progress.
            pending.submit(run, |_| {})?;
            pending.keep_up()?;
            if listener(Event::Prefill(layer + 1, layers)).is_break() {
                return Err(Error::Cancelled);
            }
        }
        if whole {
            for layer in 0..layers {
                if let Some(scoring) = &scoring {
                    scoring.decide(layer, &mut conversation.mask, run)?;
                }
                if !kept {
                    conversation.forget_skipped(layer);
                }
            }
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

    /// What scores the layers, where the policy asks for it; of the tokens before it is known what was said.
    fn scoring<'a>(
        &'a self,
        prefill: &Prefill,
        policy: &'a Policy,
        before: Vec<Vec<f32>>,
    ) -> Option<Scoring<'a>> {
        let Policy::Routed(decision) = policy else {
            return None;
        };
        let router = self
            .router
            .as_ref()
            .expect("a conversation has begun, which takes a router");
        let count = router.granularity.routers_per_layer();
        let tokens = prefill.tokens();
        let bytes = (4 * count * tokens) as u64;
        let at_once = match router.reading {
            PrefillReading::Masked => 1,
            PrefillReading::Full => router.known.len(),
        };
        Some(Scoring {
            gpu: &self.gpu,
            router,
            decision,
            tokens,
            before,
            results: (0..at_once)
                .map(|_| ReadBack::new(&self.gpu, bytes))
                .collect(),
        })
    }
}

/// Scores a prompt layer by layer.
struct Scoring<'a> {
    gpu: &'a Gpu,
    router: &'a GpuRouter,
    decision: &'a Decision,
    tokens: usize,
    /// What was said of each token before those, `[layers * routers per layer]`; nothing if there are none.
    before: Vec<Vec<f32>>,
    /// One for each layer, or one that they use in turns.
    results: Vec<ReadBack>,
}

impl Scoring<'_> {
    fn routers(&self) -> usize {
        self.router.granularity.routers_per_layer()
    }

    /// Submits the scores of one layer's input, with whatever waits before them, and their copy to the
    /// host, unless they are known.
    fn submit(
        &self,
        model: &Llama,
        prefill: &Prefill,
        layer: usize,
        pending: &mut Pending<'_>,
        run: &mut Run,
    ) -> Result<()> {
        if self.router.known[layer].is_some() {
            return Ok(());
        }
        let steps = model.score_steps(self.gpu, prefill, layer, self.router.routers(layer))?;
        pending.steps.extend(steps);
        pending.submit(run, |encoder| {
            for index in 0..self.routers() {
                let scores = self.router.scores(index, self.tokens);
                let offset = 4 * (index * self.tokens) as u64;
                self.result(layer).record_at(encoder, offset, &scores);
            }
        })?;
        self.result(layer).request(self.gpu);
        Ok(())
    }

    fn result(&self, layer: usize) -> &ReadBack {
        &self.results[layer % self.results.len()]
    }

    /// Sets what a mask says of a layer, by its scores, which go into the trace; whether they were waited for.
    fn decide(&self, layer: usize, mask: &mut LayerMask, run: &mut Run) -> Result<bool> {
        let scores = self.scores(layer)?;
        let pooled: Vec<f32> = scores.iter().map(|score| score.score).collect();
        for sublayer in Sublayer::BOTH {
            mask.set(
                layer,
                sublayer,
                self.decision.runs(layer, sublayer, &pooled),
            );
        }
        run.scores.extend(scores);
        Ok(self.router.known[layer].is_none())
    }

    /// The scores, which are waited for unless they are known: the mean over the tokens, in their order, so that it does
    /// not depend on how the prompt is split.
    fn scores(&self, layer: usize) -> Result<Vec<Score>> {
        let scores: Vec<f32> = match &self.router.known[layer] {
            Some(known) => known
                .iter()
                .flat_map(|score| std::iter::repeat_n(*score, self.tokens))
                .collect(),
            None => bytemuck::pod_collect_to_vec(&self.result(layer).wait(self.gpu)?),
        };
        let score = |index: usize| {
            let own = &scores[index * self.tokens..][..self.tokens];
            let before = self.before.get(layer * self.routers() + index);
            let tokens = [before.map_or(&[][..], Vec::as_slice), own].concat();
            let sublayer = self.router.granularity.sublayer(index);
            Score {
                layer,
                sublayer,
                score: pool(&tokens),
                threshold: self.decision.threshold(layer, sublayer),
                tokens,
            }
        };
        let scores: Vec<Score> = (0..self.routers()).map(score).collect();
        // It would be below any threshold, and skip the layer.
        if scores.iter().any(|score| !score.score.is_finite()) {
            return Err(Error::input(
                format!("the routers of layer {layer} give a score that is not a number"),
                "use other routers, and another adapter if there is one",
            ));
        }
        Ok(scores)
    }
}
