//! Looking inside: the residual stream after every layer, logits under teacher forcing, losses. For
//! `first check`, calibration and tests; generation does none of it.

use super::Engine;
use crate::error::Result;
use crate::gpu::{Buffer, Plan, Step};
use crate::mask::{LayerMask, Sublayer};
use crate::model::buffers::Prefill;
use crate::model::kv_cache::KvCache;
use crate::router::PrefillReading;
use std::collections::BTreeMap;
use std::ops::Range;

/// Hears of a layer, its sublayer, and the residual stream as it enters and as it leaves it.
pub type SublayerListener<'a> = dyn FnMut(usize, Sublayer, [&[f32]; 2]) + 'a;

/// A text's way through the layers under a mask, for others that begin alike.
pub struct Way {
    /// Of the text.
    ids: Vec<u32>,
    mask: LayerMask,
    /// The first tokens, if every layer reads them whatever the mask.
    prompt: Option<Prompt>,
    /// By layer, the streams that enter it, of each token behind the prompt but the last, which has nothing to foretell;
    /// behind the last layer what leaves it.
    streams: BTreeMap<usize, Buffer>,
}

/// A prompt that every layer has read, once for all masks.
#[derive(Clone)]
struct Prompt {
    tokens: usize,
    /// Its keys and values, and behind them room for the rest of the text.
    cache: KvCache,
    /// What leaves the last layer, of all its tokens.
    streams: Buffer,
}

impl Way {
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

    /// The last layer that is known to be entered under a mask as it is here, and what enters it.
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
            self.run_paced(self.layer_steps(&prefill, &mut cache, layer, mask, 0)?)?;
            each(layer + 1, &prefill.x.read_back(gpu, count)?)?;
        }
        let normed = Buffer::zeroed(gpu, "normed", 4 * count as u64)?;
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
                self.run_paced(self.sublayer_steps(&prefill, &mut cache, layer, sublayer)?)?;
                let after = prefill.x.read_back(gpu, count)?;
                each(layer, sublayer, [&before, &after]);
                before = after;
            }
        }
        Ok(())
    }

    /// The logits `[V]` after `ids` (index 0), then after each token of `forced` in turn, fed to the
    /// decoder whatever the logits say; the mask concerns `ids` too or not.
    pub fn forced_logits(
        &self,
        ids: &[u32],
        (mask, reading): (&LayerMask, PrefillReading),
        forced: &[u32],
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let (gpu, config) = (&self.gpu, &self.model.config);
        let mut cache = KvCache::new(config, self.kv, ids.len() + forced.len());
        let whole = reading.whole(ids.len());
        let prefill = self.prefilled(ids, mask, whole, &mut cache)?;
        prefill.last(config.hidden).copy_to(gpu, &self.decode.x);
        Plan::new(gpu, self.model.head_steps(gpu, &self.decode)?)?.run(gpu)?;
        each(0, &self.decode.logits.read_back(gpu, config.vocab)?)?;
        let plan = Plan::new(
            gpu,
            self.model.decode_steps(gpu, &self.decode, &cache, mask)?,
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
    pub fn losses(
        &self,
        ids: &[u32],
        first: usize,
        mask: &LayerMask,
        reading: PrefillReading,
    ) -> Result<Vec<f32>> {
        let mut cache = KvCache::new(&self.model.config, self.kv, ids.len());
        let whole = reading.whole(first);
        let prefill = self.prefilled(&ids[..ids.len() - 1], mask, whole, &mut cache)?;
        self.losses_of(ids, first, &prefill.x, None)
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
            self.run_layers(&prefill, &mut cache, begun..layers, mask, 0)?;
            left = Some(prefill.x);
        }
        let teacher = teacher
            .map(|teacher| self.behind_prompt(teacher, teacher.streams.get(&layers)))
            .transpose()?;
        let streams = self.behind_prompt(way, left.as_ref())?;
        self.losses_of(&way.ids, first, &streams, teacher.as_ref())
    }

    /// The way of a text through all layers, the first `whole` tokens of which no mask is to concern. Streams are kept
    /// `spacing` layers apart, and the last.
    pub fn full_way(&self, ids: &[u32], whole: usize, spacing: usize) -> Result<Way> {
        let mask = LayerMask::full(self.model.config.layers);
        let mut prompt = None;
        if whole > 0 {
            let mut cache = KvCache::new(&self.model.config, self.kv, ids.len());
            let read = self.prefilled(&ids[..whole], &mask, 0, &mut cache)?;
            prompt = Some(Prompt {
                tokens: whole,
                cache,
                streams: read.x,
            });
        }
        let nothing = Way {
            ids: ids.to_vec(),
            mask,
            prompt,
            streams: BTreeMap::new(),
        };
        self.way_beside(&nothing, &nothing.mask, spacing)
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
            self.run_layers(&prefill, &mut cache, first..next, mask, 0)?;
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

    /// What leaves the last layer, of a way's whole text, where that of the tokens behind its prompt is given.
    fn behind_prompt(&self, way: &Way, rest: Option<&Buffer>) -> Result<Buffer> {
        let before = way.prompt.iter().map(|prompt| &prompt.streams);
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

    /// The losses of a text from what leaves the last layer, against its tokens or what a teacher's streams say.
    fn losses_of(
        &self,
        ids: &[u32],
        first: usize,
        streams: &Buffer,
        teacher: Option<&Buffer>,
    ) -> Result<Vec<f32>> {
        assert!(
            first >= 1,
            "the first token of a text has nothing before it"
        );
        // Bindings start at multiples of 256 bytes, which every second row does.
        let begin = (first - 1) / 2 * 2;
        let (tokens, targets) = (begin..ids.len() - 1, &ids[begin + 1..]);
        let losses = Buffer::zeroed(&self.gpu, "losses", 4 * targets.len() as u64)?;
        let both = [&Buffer::from_slice(&self.gpu, "targets", targets)?, &losses];
        let steps = self
            .model
            .loss_steps(&self.gpu, streams, teacher, tokens, both)?;
        self.run_paced(steps)?;
        let mut losses = losses.read_back(&self.gpu, targets.len())?;
        losses.drain(..first - 1 - begin);
        Ok(losses)
    }

    fn prefilled(
        &self,
        ids: &[u32],
        mask: &LayerMask,
        whole: usize,
        cache: &mut KvCache,
    ) -> Result<Prefill> {
        let prefill = self.model.prefill_buffers(&self.gpu, ids, 0)?;
        self.run_paced(self.model.embed_steps(&self.gpu, &prefill)?)?;
        self.run_layers(&prefill, cache, 0..self.model.config.layers, mask, whole)?;
        Ok(prefill)
    }

    fn run_layers(
        &self,
        prefill: &Prefill,
        cache: &mut KvCache,
        layers: Range<usize>,
        mask: &LayerMask,
        whole: usize,
    ) -> Result<()> {
        let mut steps = Vec::new();
        for layer in layers {
            steps.extend(self.layer_steps(prefill, cache, layer, mask, whole)?);
        }
        self.run_paced(steps)
    }

    /// The steps of a layer under a mask, which does not concern the first `whole` tokens.
    fn layer_steps(
        &self,
        prefill: &Prefill,
        cache: &mut KvCache,
        layer: usize,
        mask: &LayerMask,
        whole: usize,
    ) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for sublayer in Sublayer::BOTH {
            if mask.runs(layer, sublayer) {
                steps.extend(self.sublayer_steps(prefill, cache, layer, sublayer)?);
            } else if whole > 0 {
                let prefill = prefill.first(whole);
                steps.extend(self.sublayer_steps(&prefill, cache, layer, sublayer)?);
            }
        }
        Ok(steps)
    }

    fn sublayer_steps(
        &self,
        prefill: &Prefill,
        cache: &mut KvCache,
        layer: usize,
        sublayer: Sublayer,
    ) -> Result<Vec<Step>> {
        if sublayer == Sublayer::Attn {
            cache.allocate(&self.gpu, layer)?;
        }
        self.model
            .prefill_steps(&self.gpu, prefill, cache, layer, sublayer)
    }

    /// Runs steps in submissions that stay within the adapter's budget.
    pub(crate) fn run_paced(&self, steps: Vec<Step>) -> Result<()> {
        for steps in super::paced(&self.gpu, steps) {
            Plan::new(&self.gpu, steps)?.submit(&self.gpu, None, |_| {});
        }
        self.gpu.poll()
    }
}
