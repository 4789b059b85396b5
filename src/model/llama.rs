//! The llama family as plans of dispatches: weights on the GPU, and the steps of a prefill and of a
//! decoded token.
//!
//! A layer is two residual updates,
//!
//! ```text
//! x += o_proj(attention(rope(q, k, v)))   where q, k, v = qkv_proj(rms_norm(x))
//! x += down_proj(silu(gate) * up)         where gate, up = gate_up_proj(rms_norm(x))
//! ```
//!
//! and either can be left out by a [`LayerMask`]: what is left out has no step.

use super::buffers::{Chunk, Decode, Prefill};
use super::config::Config;
use super::kv_cache::KvCache;
use super::product::Lora;
use crate::adapter::joint::Product;
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step};
use crate::kernels::attention::Attention;
use crate::kernels::router_score::Routers;
use crate::kernels::{self, Epilogue, Rope};
use crate::mask::{LayerMask, Sublayer};
use crate::weights::pack::Linear;

/// Prompt tokens that one dispatch embeds: fewer than there may be workgroups, and where slices are aligned.
const MOST_EMBEDDED: usize = 1 << 15;

/// One layer's weights.
pub(crate) struct Layer {
    pub(crate) input_layernorm: Buffer,
    pub(crate) qkv_proj: Linear,
    pub(crate) o_proj: Linear,
    pub(crate) post_attention_layernorm: Buffer,
    pub(crate) gate_up_proj: Linear,
    pub(crate) down_proj: Linear,
}

/// A model on the GPU.
pub struct Llama {
    /// Its sizes.
    pub config: Config,
    /// The most prompt tokens that go through a layer at once: bounds the memory of a prefill.
    pub chunk: usize,
    /// The most of them that one dispatch of attention is for.
    pub attending: usize,
    pub(crate) embed_tokens: Linear,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Buffer,
    /// `None` where the embedding is also the head.
    pub(super) lm_head: Option<Linear>,
    /// `[C, D / 2]` pairs of cos and sin.
    pub(crate) rotations: Buffer,
    /// An adapter that is applied at run time.
    pub(super) lora: Option<Lora>,
    /// Whether it is applied; the bench turns it off.
    pub(crate) adapted: bool,
}

impl Llama {
    /// Buffers for a prefill of `ids` that begins at `position`.
    pub fn prefill_buffers(&self, gpu: &Gpu, ids: &[u32], position: usize) -> Result<Prefill> {
        let most = [self.chunk, self.attending, self.lora_rank()];
        Prefill::new(gpu, &self.config, most, ids, position)
    }

    /// Buffers for one token.
    pub fn decode_buffers(&self, gpu: &Gpu) -> Result<Decode> {
        let behind = |product| self.behind(gpu, product);
        Decode::new(gpu, &self.config, behind)
    }

    /// What turns a product into rotated queries, and keys and values in the cache.
    pub(crate) fn rope<'a>(
        &'a self,
        cache: &'a KvCache,
        layer: usize,
        state: &'a Buffer,
        queries: &'a Buffer,
    ) -> Epilogue<'a> {
        Epilogue::Rope(Rope {
            rotations: &self.rotations,
            state,
            queries,
            kv: cache.layer(layer),
            kv_format: cache.format(),
            query_rows: self.config.query_rows(),
            key_rows: self.config.key_rows(),
            head_dim: self.config.head_dim,
        })
    }

    /// The attention of one layer.
    pub(crate) fn attention<'a>(
        &self,
        cache: &'a KvCache,
        layer: usize,
        queries: &'a Buffer,
        y: &'a Buffer,
    ) -> Attention<'a> {
        Attention {
            queries,
            kv: cache.layer(layer),
            kv_format: cache.format(),
            y,
            sizes: self.config.sizes(),
        }
    }

    /// The steps that embed a prompt.
    pub fn embed_steps(&self, gpu: &Gpu, prefill: &Prefill) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for first in (0..prefill.tokens).step_by(MOST_EMBEDDED) {
            let tokens = MOST_EMBEDDED.min(prefill.tokens - first);
            let chunk = Chunk { first, tokens };
            let (ids, x) = (
                chunk.rows(&prefill.ids, 1),
                chunk.rows(&prefill.x, self.config.hidden),
            );
            steps.extend(kernels::embed::steps(
                gpu,
                &self.embed_tokens,
                &ids,
                &x,
                tokens,
            )?);
        }
        Ok(steps)
    }

    /// The steps that score a prompt for the routers of one layer.
    pub fn score_steps(
        &self,
        gpu: &Gpu,
        prefill: &Prefill,
        layer: usize,
        routers: Routers<'_>,
    ) -> Result<Vec<Step>> {
        let score = |chunk: Chunk| {
            let label = format!("L{layer:02}.router");
            let x = chunk.rows(&prefill.x, self.config.hidden);
            let shape = [chunk.tokens, self.config.hidden];
            kernels::router_score::step(gpu, &label, routers, &x, shape, chunk.first)
        };
        prefill.chunks().map(score).collect()
    }

    /// The steps of one sublayer over a prompt. Of the tokens before `wanted` there are keys and values behind it; what it
    /// does to their residual stream nobody asks for.
    pub fn prefill_steps(
        &self,
        gpu: &Gpu,
        prefill: &Prefill,
        cache: &KvCache,
        (index, sublayer): (usize, Sublayer),
        wanted: usize,
    ) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let label = |part: &str| format!("L{index:02}.{part}");
        let hidden = self.config.hidden;
        let normed = |chunk: Chunk| {
            let x = chunk.rows(&prefill.x, hidden);
            let buffers = [&x, self.gamma(index, sublayer), &prefill.normed];
            let (shape, epsilon) = ([chunk.tokens, hidden], self.config.rms_norm_epsilon);
            let name = label(&format!("{}.norm", sublayer.name()));
            kernels::rms_norm::step(gpu, &name, buffers, shape, epsilon)
        };
        for chunk in prefill.chunks() {
            let rest = chunk.from(wanted);
            let x = rest.map(|rest| rest.rows(&prefill.x, hidden));
            let product = |chunk: Chunk, product, input, epilogue| {
                let at = [chunk.tokens, prefill.position + chunk.first];
                self.matmul_steps(gpu, index, product, [input, &prefill.h], at, epilogue)
            };
            if sublayer == Sublayer::Attn {
                steps.push(normed(chunk)?);
                let rope = self.rope(cache, index, &prefill.zero, &prefill.queries);
                steps.extend(product(chunk, Product::Qkv, &prefill.normed, rope)?);
            }
            let (Some(rest), Some(x)) = (rest, &x) else {
                continue;
            };
            let taken = match sublayer {
                Sublayer::Attn => {
                    let own = Chunk {
                        first: rest.first - chunk.first,
                        ..rest
                    };
                    let position = prefill.position + chunk.first;
                    steps.extend(self.attend(gpu, prefill, cache, index, own, position)?);
                    own.rows(&prefill.attended, self.config.query_rows())
                }
                Sublayer::Mlp => {
                    steps.push(normed(rest)?);
                    let y = &prefill.activation;
                    let swiglu = Epilogue::SiluMul { y };
                    steps.extend(product(rest, Product::GateUp, &prefill.normed, swiglu)?);
                    y.clone()
                }
            };
            let residual = Epilogue::Residual { y: x };
            steps.extend(product(rest, Product::inner(sublayer), &taken, residual)?);
        }
        Ok(steps)
    }

    /// The attention of a chunk's tokens, which begins at `position`, to all before them, in dispatches of a size.
    fn attend(
        &self,
        gpu: &Gpu,
        prefill: &Prefill,
        cache: &KvCache,
        index: usize,
        tokens: Chunk,
        position: usize,
    ) -> Result<Vec<Step>> {
        let columns = self.config.query_rows();
        let step = |part: Chunk| {
            let queries = part.rows(&prefill.queries, columns);
            let y = part.rows(&prefill.attended, columns);
            let attention = self.attention(cache, index, &queries, &y);
            let (label, position) = (format!("L{index:02}.attn.attention"), position + part.first);
            kernels::attention::step(gpu, &label, attention, part.tokens, position)
        };
        tokens.parts(prefill.attention).map(step).collect()
    }

    /// The steps of one decoded token up to its logits, under a mask; they hold at any position, and are best at
    /// `position`.
    pub fn decode_steps(
        &self,
        gpu: &Gpu,
        decode: &Decode,
        (cache, mask): (&KvCache, &LayerMask),
        position: usize,
    ) -> Result<Vec<Step>> {
        let mut steps =
            kernels::embed::steps(gpu, &self.embed_tokens, &decode.state, &decode.x, 1)?;
        let sublayers = (0..self.config.layers)
            .flat_map(|layer| Sublayer::BOTH.map(|sublayer| (layer, sublayer)));
        let running: Vec<_> = sublayers
            .filter(|(layer, sublayer)| mask.runs(*layer, *sublayer))
            .collect();
        // What takes the residual stream after `done` sublayers.
        let stream = |done: usize| {
            let (layer, sublayer) = *running.get(done)?;
            self.next(layer, Product::outer(sublayer))
        };
        if let Some(next) = stream(0) {
            let hidden = self.config.hidden;
            let step = kernels::lora_share::step(gpu, "embed.lora", &decode.x, hidden, next)?;
            steps.push(step);
        }
        for (done, &(index, sublayer)) in running.iter().enumerate() {
            let inner = Product::inner(sublayer);
            let next = self.next(index, inner);
            let taken = match sublayer {
                Sublayer::Attn => {
                    let rope = self.rope(cache, index, &decode.state, &decode.queries);
                    let qkv = self.matvec_steps(gpu, index, Product::Qkv, &decode.x, None, rope)?;
                    steps.extend(qkv);
                    steps.extend(kernels::attention_decode::steps(
                        gpu,
                        &format!("L{index:02}.attn.attention"),
                        self.attention(cache, index, &decode.queries, &decode.attended),
                        [&decode.state, &decode.parts],
                        position,
                        next,
                    )?);
                    &decode.attended
                }
                Sublayer::Mlp => {
                    let y = &decode.activation;
                    let swiglu = Epilogue::SiluMul { y };
                    let gate_up =
                        self.matvec_steps(gpu, index, Product::GateUp, &decode.x, next, swiglu)?;
                    steps.extend(gate_up);
                    y
                }
            };
            let (next, residual) = (stream(done + 1), Epilogue::Residual { y: &decode.x });
            steps.extend(self.matvec_steps(gpu, index, inner, taken, next, residual)?);
        }
        steps.extend(self.head_steps(gpu, decode)?);
        Ok(steps)
    }
}
