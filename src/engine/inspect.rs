//! Looking inside: the residual stream after every layer, logits under teacher forcing, losses, what routers decide. For
//! `first check`, calibration, `first eval` and tests; generation does none of it.

use super::pacing::paced;
use super::{Conversation, Engine, Event, Policy, Request};
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Plan, Step, bindable_row};
use crate::mask::{LayerMask, Masking, PrefillReading, Sublayer};
use crate::model::buffers::Prefill;
use crate::model::kv_cache::KvCache;
use crate::router::Decision;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::time::Instant;

/// Hears of a layer, its sublayer, and the residual stream as it enters and as it leaves it.
pub type SublayerListener<'a> = dyn FnMut(usize, Sublayer, [&[f32]; 2]) + 'a;

/// A text's way through the layers under a mask, for others that begin alike.
pub struct Way {
    /// The text.
    ids: Vec<u32>,
    mask: LayerMask,
    /// The first tokens, if every layer reads them whatever the mask.
    prompt: Option<Prompt>,
    /// By layer, the streams that enter it, of each token behind the prompt but the last, which has nothing to predict;
    /// behind the last layer what leaves it.
    streams: BTreeMap<usize, Buffer>,
}

/// A prompt that every layer has read, once for all masks.
#[derive(Clone)]
struct Prompt {
    tokens: usize,
    /// Its keys and values, and behind them room for the rest of the text.
    cache: KvCache,
    /// What leaves the last layer, of its last token.
    last: Buffer,
    /// What routers say of it, `[layers * routers per layer]`.
    scores: Vec<f32>,
}

impl Way {
    /// What the engine's routers said of the prompt, `[layers * routers per layer]`; nothing if they were not asked.
    pub fn scores(&self) -> &[f32] {
        self.prompt.as_ref().map_or(&[], |prompt| &prompt.scores)
    }

    /// Bytes of the prompt's keys and values.
    pub fn bytes(&self) -> u64 {
        self.prompt
            .as_ref()
            .map_or(0, |prompt| prompt.cache.bytes())
    }

    /// How many tokens every layer reads, whatever the mask.
    fn whole(&self) -> usize {
        self.prompt.as_ref().map_or(0, |prompt| prompt.tokens)
    }

    /// The tokens that go this way.
    fn rest(&self) -> &[u32] {
        &self.ids[self.whole()..self.ids.len() - 1]
    }

    /// How many of the first layers a mask runs as this way does.
    fn alike(&self, mask: &LayerMask) -> usize {
        let same = |layer: &usize| {
            let same = |part| mask.runs(*layer, part) == self.mask.runs(*layer, part);
            Sublayer::BOTH.into_iter().all(same)
        };
        (0..mask.layers()).take_while(same).count()
    }

    /// The last layer whose input is known and the same under another mask, and that input.
    fn shared(&self, mask: &LayerMask) -> Option<(usize, &Buffer)> {
        let (layer, x) = self.streams.range(..=self.alike(mask)).next_back()?;
        Some((*layer, x))
    }
}

impl Engine {
    /// Prefills `ids` under `mask` and hands over the residual stream `[T, H]`: first after the embedding
    /// (index 0), then after each layer; last, at index layers + 1, after the final norm.
    pub fn hidden_states(
        &self,
        ids: &[u32],
        mask: &LayerMask,
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let (gpu, config) = (&self.gpu, &self.model.config);
        let count = ids.len() * config.hidden;
        let (prefill, mut cache) = (
            self.model.prefill_buffers(gpu, ids, 0)?,
            KvCache::new(config, self.kv, ids.len()),
        );
        self.run_paced(self.model.embed_steps(gpu, &prefill)?)?;
        each(0, &prefill.x.read_back(gpu, count)?)?;
        for layer in 0..config.layers {
            self.run_layers(&prefill, &mut cache, layer..layer + 1, mask)?;
            each(layer + 1, &prefill.x.read_back(gpu, count)?)?;
        }
        let normed = Buffer::zeros(gpu, "normed", count)?;
        self.run_paced(vec![self.model.final_norm_step(
            gpu,
            [&prefill.x, &normed],
            ids.len(),
        )?])?;
        each(config.layers + 1, &normed.read_back(gpu, count)?)
    }

    /// Prefills `ids` and hands over the residual stream `[T, H]` as it enters and as it leaves each sublayer.
    pub fn sublayer_states(&self, ids: &[u32], each: &mut SublayerListener<'_>) -> Result<()> {
        let (gpu, config) = (&self.gpu, &self.model.config);
        let count = ids.len() * config.hidden;
        let prefill = self.model.prefill_buffers(gpu, ids, 0)?;
        let mut cache = KvCache::new(config, self.kv, ids.len());
        self.run_paced(self.model.embed_steps(gpu, &prefill)?)?;
        let mut before = prefill.x.read_back(gpu, count)?;
        for layer in 0..config.layers {
            for sublayer in Sublayer::BOTH {
                let steps = self.sublayer_steps(&prefill, &mut cache, (layer, sublayer), 0)?;
                self.run_paced(steps)?;
                let after = prefill.x.read_back(gpu, count)?;
                each(layer, sublayer, [&before, &after]);
                before = after;
            }
        }
        Ok(())
    }

    /// The logits `[V]` after `ids` (index 0), then after each token of `forced` in turn, fed to the
    /// decoder whatever the logits say; the mask concerns `ids` too or not. What is no id of the model's, or too long, is
    /// refused.
    pub fn forced_logits(
        &self,
        ids: &[u32],
        masking: &Masking,
        forced: &[u32],
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let (gpu, config) = (&self.gpu, &self.model.config);
        let policy = Policy::Fixed(masking.clone());
        let positions = ids.len() + forced.len();
        let mut all = ids.iter().chain(forced);
        let known = |id: &u32| (*id as usize) < config.vocab;
        if ids.is_empty() || positions > config.context || !all.all(known) {
            return Err(Error::input(
                format!(
                    "expected 1 to {} tokens with ids below {}",
                    config.context, config.vocab
                ),
                "give what this model has read, with as long a context",
            ));
        }
        let (Conversation { cache, .. }, _) = self.read(ids, policy, positions)?;
        Plan::new(gpu, self.model.head_steps(gpu, &self.decode)?)?.run(gpu)?;
        each(0, &self.decode.logits.read_back(gpu, config.vocab)?)?;
        let plan = Plan::new(
            gpu,
            self.model
                .decode_steps(gpu, &self.decode, (&cache, &masking.mask), ids.len())?,
        )?;
        for (index, token) in forced.iter().enumerate() {
            self.decode
                .state
                .write(gpu, &[*token, (ids.len() + index) as u32, 0, 0]);
            plan.run(gpu)?;
            each(index + 1, &self.decode.logits.read_back(gpu, config.vocab)?)?;
        }
        Ok(())
    }

    /// The cross-entropy in nats of each token of `ids` from index `first` (at least 1) on, given those
    /// before it, which are the prompt that is read one way or the other.
    pub fn losses(&self, ids: &[u32], first: usize, masking: &Masking) -> Result<Vec<f32>> {
        let way = self.way(ids, masking.prefill.whole(first))?;
        self.losses_beside(&way, None, first, &masking.mask)
    }

    /// [`losses`](Self::losses) of a text whose way under a mask is known: what comes before the first layer that differs
    /// does not run again. With a teacher, another way of the text, what that says takes the place of the tokens.
    pub fn losses_beside(
        &self,
        way: &Way,
        teacher: Option<&Way>,
        first: usize,
        mask: &LayerMask,
    ) -> Result<Vec<f32>> {
        let layers = self.model.config.layers;
        let mut left = None;
        if !way.rest().is_empty() {
            let (prefill, mut cache, begun) = self.begin_beside(way, mask)?;
            self.run_layers(&prefill, &mut cache, begun..layers, mask)?;
            left = Some(prefill.x);
        }
        let own = self.behind_prompt(way, left.as_ref())?;
        let teacher = teacher
            .map(|teacher| self.behind_prompt(teacher, teacher.streams.get(&layers)))
            .transpose()?;
        self.losses_of(way, first, &own, teacher.as_ref())
    }

    /// A text of which every layer has read the first `whole` tokens, for any mask of the others, which have not been read.
    pub fn way(&self, ids: &[u32], whole: usize) -> Result<Way> {
        self.way_under(Policy::Fixed(self.full().into()), ids, whole)
    }

    /// A [`way`](Self::way) with the scores of the engine's routers, if it has any for prompts that every layer reads.
    pub fn scored_way(&self, ids: &[u32], whole: usize) -> Result<Way> {
        let router = self.router.as_ref();
        match router.filter(|router| router.reading == PrefillReading::Full) {
            Some(router) => {
                let layers = self.model.config.layers;
                let decision =
                    Decision::new(router.granularity, layers).protecting(vec![[true; 2]; layers]);
                self.way_under(Policy::Routed(decision), ids, whole)
            }
            None => self.way(ids, whole),
        }
    }

    /// The mask that the engine's routers give a prompt, and their scores, `[layers * routers per layer]`; of what is skipped
    /// for the prompt too those on the path that the mask makes.
    pub fn route(&self, prompt: &[u32], decision: &Decision) -> Result<(LayerMask, Vec<f32>)> {
        let policy = Policy::Routed(decision.clone());
        let (conversation, scores) = self.read(prompt, policy, prompt.len())?;
        Ok((conversation.mask, scores))
    }

    fn full(&self) -> LayerMask {
        LayerMask::full(self.model.config.layers)
    }

    fn way_under(&self, policy: Policy, ids: &[u32], whole: usize) -> Result<Way> {
        let mut prompt = None;
        if whole > 0 {
            let (conversation, scores) = self.read(&ids[..whole], policy, ids.len())?;
            // The next text will be read into the same place, behind which the adapter has its own.
            let last = Buffer::zeros(&self.gpu, "last x", self.model.config.hidden)?;
            let x = self.decode.x.slice(0, last.size_bytes());
            x.copy_to(&self.gpu, &last);
            prompt = Some(Prompt {
                tokens: whole,
                cache: conversation.cache,
                last,
                scores,
            });
        }
        Ok(Way {
            ids: ids.to_vec(),
            mask: self.full(),
            prompt,
            streams: BTreeMap::new(),
        })
    }

    /// The way of a text through all layers, the first `whole` tokens of which no mask is to concern. Streams are kept
    /// `spacing` layers apart, and the last.
    pub fn full_way(&self, ids: &[u32], whole: usize, spacing: usize) -> Result<Way> {
        let way = self.way(ids, whole)?;
        self.way_beside(&way, &way.mask, spacing)
    }

    /// The way of a text under another mask, from where that differs.
    pub fn way_beside(&self, way: &Way, mask: &LayerMask, spacing: usize) -> Result<Way> {
        let (gpu, layers) = (&self.gpu, self.model.config.layers);
        let mut beside = Way {
            ids: way.ids.clone(),
            mask: mask.clone(),
            prompt: way.prompt.clone(),
            streams: BTreeMap::new(),
        };
        if way.rest().is_empty() {
            return Ok(beside);
        }
        let (prefill, mut cache, begun) = self.begin_beside(way, mask)?;
        let known = way.streams.range(..=begun);
        beside.streams = known.map(|(layer, x)| (*layer, x.clone())).collect();
        for first in (begun..layers).step_by(spacing) {
            let next = layers.min(first + spacing);
            self.run_layers(&prefill, &mut cache, first..next, mask)?;
            let x = Buffer::zeroed(gpu, "known x", prefill.x.size_bytes())?;
            prefill.x.copy_to(gpu, &x);
            beside.streams.insert(next, x);
        }
        Ok(beside)
    }

    /// Buffers for a text under a mask, and the layer that their stream enters next: the last that is known from another
    /// way, or the first.
    fn begin_beside(&self, way: &Way, mask: &LayerMask) -> Result<(Prefill, KvCache, usize)> {
        let cache = match &way.prompt {
            // What was left behind the prompt is written anew before it is read.
            Some(prompt) => prompt.cache.clone(),
            None => KvCache::new(&self.model.config, self.kv, way.ids.len()),
        };
        let prefill = self
            .model
            .prefill_buffers(&self.gpu, way.rest(), way.whole())?;
        let begun = match way.shared(mask) {
            Some((layer, x)) => {
                x.copy_to(&self.gpu, &prefill.x);
                layer
            }
            None => {
                self.run_paced(self.model.embed_steps(&self.gpu, &prefill)?)?;
                0
            }
        };
        Ok((prefill, cache, begun))
    }

    /// What leaves the last layer, from the prompt's last token on: that token's is known of a way, those behind it are given.
    fn behind_prompt(&self, way: &Way, rest: Option<&Buffer>) -> Result<Buffer> {
        let before = way.prompt.iter().map(|prompt| &prompt.last);
        let parts: Vec<&Buffer> = before.chain(rest).collect();
        if let [all] = parts[..] {
            return Ok(all.clone());
        }
        let bytes = parts.iter().map(|part| part.size_bytes()).sum();
        let all = Buffer::zeroed(&self.gpu, "all x", bytes)?;
        let mut begin = 0;
        for part in parts {
            part.copy_to(&self.gpu, &all.slice(begin, part.size_bytes()));
            begin += part.size_bytes();
        }
        Ok(all)
    }

    /// The losses of a way's text from token `first` on, from what [`behind_prompt`](Self::behind_prompt) gives, against
    /// its tokens or what a teacher's streams say.
    fn losses_of(
        &self,
        way: &Way,
        first: usize,
        streams: &Buffer,
        teacher: Option<&Buffer>,
    ) -> Result<Vec<f32>> {
        let before = way.whole().saturating_sub(1);
        assert!(
            first > before,
            "token {first} is predicted by one that was not kept"
        );
        let ids = &way.ids[before..];
        let first = first - before;
        let begin = bindable_row(first - 1, &[self.model.config.hidden]);
        let (tokens, targets) = (begin..ids.len() - 1, &ids[begin + 1..]);
        let losses = Buffer::zeros(&self.gpu, "losses", targets.len())?;
        let both = [&Buffer::from_slice(&self.gpu, "targets", targets)?, &losses];
        let steps = self
            .model
            .loss_steps(&self.gpu, streams, teacher, tokens, both)?;
        self.run_paced(steps)?;
        let mut losses = losses.read_back(&self.gpu, targets.len())?;
        losses.drain(..first - 1 - begin);
        Ok(losses)
    }

    /// Reads a prompt as generation does, with room for a text of `positions` tokens; the last token's residual stream is in
    /// the decode buffers. What routers scored is given too.
    fn read(
        &self,
        ids: &[u32],
        policy: Policy,
        positions: usize,
    ) -> Result<(Conversation, Vec<f32>)> {
        let request = Request::new(ids.to_vec(), policy, 0);
        let mut run = self.new_run(&request);
        let begun = (self.new_conversation(&request.policy, positions)?, 0);
        let listener = &mut |_: Event<'_>| ControlFlow::Continue(());
        let read = self.go_on(begun, &request, &Instant::now(), &mut run, listener)?;
        self.gpu.wait()?;
        let scores = run.scores.iter().map(|score| score.score).collect();
        Ok((read, scores))
    }

    /// Runs what a mask leaves of layers.
    fn run_layers(
        &self,
        prefill: &Prefill,
        cache: &mut KvCache,
        layers: Range<usize>,
        mask: &LayerMask,
    ) -> Result<()> {
        let mut steps = Vec::new();
        for layer in layers {
            for sublayer in Sublayer::BOTH {
                if mask.runs(layer, sublayer) {
                    steps.extend(self.sublayer_steps(prefill, cache, (layer, sublayer), 0)?);
                }
            }
        }
        self.run_paced(steps)
    }

    /// Runs steps in submissions that stay within the GPU's budget.
    pub(crate) fn run_paced(&self, steps: Vec<Step>) -> Result<()> {
        for steps in paced(&self.gpu, steps) {
            Plan::new(&self.gpu, steps)?.submit(&self.gpu, None, |_| {});
        }
        self.gpu.wait()
    }
}
