//! Looking inside: the residual stream after every layer, logits under teacher forcing, losses. For
//! `first check`, calibration and tests; generation does none of it.

use super::Engine;
use crate::error::Result;
use crate::gpu::{Buffer, Plan, Step};
use crate::mask::{LayerMask, Sublayer};
use crate::model::buffers::Prefill;
use crate::model::kv_cache::KvCache;

/// Hears of a layer, its sublayer, and the residual stream as it enters and as it leaves it.
pub type SublayerListener<'a> = dyn FnMut(usize, Sublayer, [&[f32]; 2]) + 'a;

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
            self.run_paced(self.layer_steps(&prefill, &mut cache, layer, mask)?)?;
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
    /// decoder whatever the logits say.
    pub fn forced_logits(
        &self,
        ids: &[u32],
        mask: &LayerMask,
        forced: &[u32],
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let (gpu, config) = (&self.gpu, &self.model.config);
        let mut cache = KvCache::new(config, self.kv, ids.len() + forced.len());
        let prefill = self.prefilled(ids, mask, &mut cache)?;
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
    /// before it.
    pub fn losses(&self, ids: &[u32], first: usize, mask: &LayerMask) -> Result<Vec<f32>> {
        self.losses_with(ids, first, mask, None)
    }

    /// [`losses`](Self::losses), but the cross-entropy with what the model says of the [`streams`](Self::streams) of the
    /// same ids: more than its own by the Kullback-Leibler divergence from it.
    pub fn losses_from(
        &self,
        streams: &Buffer,
        ids: &[u32],
        first: usize,
        mask: &LayerMask,
    ) -> Result<Vec<f32>> {
        self.losses_with(ids, first, mask, Some(streams))
    }

    /// What leaves the last layer under a mask, `[T - 1, H]` of `T` ids: the last has nothing to foretell.
    pub fn streams(&self, ids: &[u32], mask: &LayerMask) -> Result<Buffer> {
        let mut cache = KvCache::new(&self.model.config, self.kv, ids.len());
        Ok(self.prefilled(&ids[..ids.len() - 1], mask, &mut cache)?.x)
    }

    fn losses_with(
        &self,
        ids: &[u32],
        first: usize,
        mask: &LayerMask,
        teacher: Option<&Buffer>,
    ) -> Result<Vec<f32>> {
        assert!(
            first >= 1,
            "the first token of a text has nothing before it"
        );
        let (gpu, streams) = (&self.gpu, self.streams(ids, mask)?);
        // Bindings start at multiples of 256 bytes, which every second row does.
        let begin = (first - 1) / 2 * 2;
        let (tokens, targets) = (begin..ids.len() - 1, &ids[begin + 1..]);
        let losses = Buffer::zeroed(gpu, "losses", 4 * targets.len() as u64)?;
        let both = [&Buffer::from_slice(gpu, "targets", targets)?, &losses];
        self.run_paced(
            self.model
                .loss_steps(gpu, &streams, teacher, tokens, both)?,
        )?;
        let mut losses = losses.read_back(gpu, targets.len())?;
        losses.drain(..first - 1 - begin);
        Ok(losses)
    }

    fn prefilled(&self, ids: &[u32], mask: &LayerMask, cache: &mut KvCache) -> Result<Prefill> {
        let prefill = self.model.prefill_buffers(&self.gpu, ids, 0)?;
        let mut steps = self.model.embed_steps(&self.gpu, &prefill)?;
        for layer in 0..self.model.config.layers {
            steps.extend(self.layer_steps(&prefill, cache, layer, mask)?);
        }
        self.run_paced(steps)?;
        Ok(prefill)
    }

    fn layer_steps(
        &self,
        prefill: &Prefill,
        cache: &mut KvCache,
        layer: usize,
        mask: &LayerMask,
    ) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for sublayer in Sublayer::BOTH {
            if mask.runs(layer, sublayer) {
                steps.extend(self.sublayer_steps(prefill, cache, layer, sublayer)?);
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
