//! What a decoded token and a prefill keep on the GPU while they run.

use super::config::Config;
use crate::adapter::joint::Product;
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, bindable_row};
use crate::kernels::{self, attention_decode};

/// Buffers of one decoded token.
pub struct Decode {
    /// Token and position: written by the host at the start, then by argmax or sample.
    pub state: Buffer,
    /// The residual stream `[H]`. Behind this and the other vectors that products take is room for the shares of an
    /// adapter's way down.
    pub x: Buffer,
    /// `[V]`.
    pub logits: Buffer,
    pub(super) queries: Buffer,
    pub(super) attended: Buffer,
    /// What workgroups have of the attention that they share.
    pub(super) parts: Buffer,
    pub(super) activation: Buffer,
    pub(super) weights: Buffer,
}

/// Buffers of a prefill: the residual stream of the whole prompt, the rest of one chunk.
pub struct Prefill {
    /// The residual stream `[T, H]`.
    pub x: Buffer,
    /// Token ids `[T]`.
    pub ids: Buffer,
    pub(super) tokens: usize,
    pub(super) chunk: usize,
    /// The most tokens of a chunk that one dispatch of attention is for.
    pub(super) attention: usize,
    /// Position of the first token.
    pub(super) position: usize,
    pub(super) zero: Buffer,
    pub(super) normed: Buffer,
    /// What an adapter's products take, on its way down.
    pub(super) h: Buffer,
    pub(super) queries: Buffer,
    pub(super) attended: Buffer,
    pub(super) activation: Buffer,
}

impl Decode {
    /// Buffers for one token; `behind` says how many numbers follow the vector that a product takes.
    pub(super) fn new(
        gpu: &Gpu,
        config: &Config,
        behind: impl Fn(Product) -> usize,
    ) -> Result<Self> {
        let stream = behind(Product::Qkv).max(behind(Product::GateUp));
        let numbers = |label, count| Buffer::zeros(gpu, label, count);
        Ok(Self {
            state: numbers("state", 4)?,
            x: numbers("x", config.hidden + stream)?,
            logits: numbers("logits", config.vocab)?,
            queries: numbers("queries", config.query_rows())?,
            attended: numbers("attended", config.query_rows() + behind(Product::O))?,
            parts: numbers("parts", attention_decode::parts(config.sizes()))?,
            activation: numbers("activation", config.feed_forward + behind(Product::Down))?,
            weights: numbers("weights", config.vocab)?,
        })
    }
}

/// Consecutive tokens of a prompt.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) first: usize,
    pub(super) tokens: usize,
}

impl Chunk {
    pub(super) fn rows(&self, x: &Buffer, columns: usize) -> Buffer {
        x.slice(
            4 * (self.first * columns) as u64,
            4 * (self.tokens * columns) as u64,
        )
    }

    /// Its tokens, up to `most` at a time.
    pub(super) fn parts(self, most: usize) -> impl Iterator<Item = Self> {
        let end = self.first + self.tokens;
        (self.first..end).step_by(most).map(move |first| Self {
            first,
            tokens: most.min(end - first),
        })
    }

    /// Its tokens from `first` on, if there are any.
    pub(super) fn from(&self, first: usize) -> Option<Self> {
        let (begin, end) = (self.first.max(first), self.first + self.tokens);
        (begin < end).then(|| Self {
            first: begin,
            tokens: end - begin,
        })
    }
}

impl Prefill {
    /// Buffers for `ids`, of which the first is at `position`; at most `most` tokens go through a layer at
    /// once, `attending` through one dispatch of attention, and an adapter has `rank` columns.
    pub(super) fn new(
        gpu: &Gpu,
        config: &Config,
        [most, attending, rank]: [usize; 3],
        ids: &[u32],
        position: usize,
    ) -> Result<Self> {
        // No dispatch is more than a submission may hold, as those are reckoned, unless what a workgroup owns is: neither a
        // chunk's largest product, nor the attention to all before it, which is shared out for that.
        let fits = |flops: usize| (gpu.submission_flops() / flops as u64) as usize;
        let qkv = config.query_rows() + 2 * config.key_rows();
        let product = 2 * (2 * config.feed_forward).max(qkv) * config.hidden;
        let tile = kernels::matmul::workgroup_tokens(&gpu.class);
        let chunk = (fits(product) / tile * tile)
            .min(most)
            .max(tile)
            .min(ids.len());
        let reach = 4 * (position + ids.len()) * config.query_rows();
        let owned = kernels::attention::owned(&gpu.class, config.sizes().head_dim);
        let attention = fits(gpu.attention_effort() as usize * reach);
        let attention = (attention / owned * owned).min(attending).max(owned);
        let numbers = |label, count| Buffer::zeros(gpu, label, count);
        Ok(Self {
            x: numbers("prompt x", ids.len() * config.hidden)?,
            ids: Buffer::from_slice(gpu, "ids", ids)?,
            tokens: ids.len(),
            chunk,
            attention,
            position,
            zero: numbers("zero", 4)?,
            normed: numbers("normed", chunk * config.hidden)?,
            h: numbers("prompt lora", chunk * rank)?,
            queries: numbers("prompt queries", chunk * config.query_rows())?,
            attended: numbers("prompt attended", chunk * config.query_rows())?,
            activation: numbers("prompt activation", chunk * config.feed_forward)?,
        })
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = Chunk> {
        let all = Chunk {
            first: 0,
            tokens: self.tokens,
        };
        all.parts(self.chunk)
    }

    /// Tokens of the prompt.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The first of the prompt's last tokens that the last layer has to go on with beyond their keys and values, if only
    /// the stream of the last one is asked for.
    pub fn last_wanted(&self, config: &Config) -> usize {
        bindable_row(self.tokens - 1, &[config.hidden, config.query_rows()])
    }

    /// The residual stream of the last token, `[H]`.
    pub fn last(&self, hidden: usize) -> Buffer {
        Chunk {
            first: self.tokens - 1,
            tokens: 1,
        }
        .rows(&self.x, hidden)
    }
}
