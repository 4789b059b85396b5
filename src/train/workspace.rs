//! What a text keeps on the GPU while it goes through the model and back.

use crate::adapter::joint::{Joint, Product};
use crate::error::Result;
use crate::gpu::{ALIGNMENT_BYTES, Buffer, Gpu};
use crate::kernels::KvFormat;
use crate::kernels::gate::STRIDE;
use crate::model::config::Config;
use crate::model::kv_cache::KvCache;

/// Tokens whose logits are on the GPU at once: parts then begin where bindings may.
pub(super) const LOGITS: usize = ALIGNMENT_BYTES / 4;

/// Buffers for texts of up to `tokens` tokens. What is recomputed on the way back is kept for one sublayer only; of
/// each layer there are the streams that enter its sublayers, and keys and values, which an answer needs of its prompt.
pub(super) struct Workspace {
    pub(super) tokens: usize,
    pub(super) ids: Buffer,
    pub(super) targets: Buffer,
    pub(super) losses: Buffer,
    pub(super) logits: Buffer,
    /// The teacher's probabilities of a whole text, `[tokens, V]`, where there is one.
    pub(super) teacher_probabilities: Option<Buffer>,
    /// Zeros: token and position of the first token.
    pub(super) state: Buffer,
    /// The gate of what always runs, `[1]`.
    pub(super) one: Buffer,
    /// `[layers * 2, STRIDE]`.
    pub(super) gates: Buffer,
    /// Scores of each layer's routers, `[2, tokens]`.
    pub(super) scores: Vec<Buffer>,
    pub(super) dz: Buffer,
    /// The residual stream and its gradient `[tokens, H]`.
    pub(super) x: Buffer,
    pub(super) dx: Buffer,
    /// The stream that enters each sublayer.
    pub(super) saved: Vec<[Buffer; 2]>,
    pub(super) normed: Buffer,
    pub(super) d_normed: Buffer,
    /// `[tokens, Q]`.
    pub(super) queries: Buffer,
    pub(super) d_queries: Buffer,
    /// What attention or the activation gives, and its gradient.
    pub(super) inner: [Buffer; 2],
    pub(super) d_inner: Buffer,
    /// The joint product of either kind in slots, and its gradient.
    pub(super) outer: Buffer,
    pub(super) d_outer: Buffer,
    pub(super) kv: KvCache,
    pub(super) rows: Buffer,
    pub(super) dk: Buffer,
    pub(super) dv: Buffer,
    /// The ways down of low-rank updates.
    pub(super) h_outer: Buffer,
    pub(super) h_inner: Buffer,
    pub(super) dh: Buffer,
}

impl Workspace {
    pub(super) fn new(gpu: &Gpu, config: &Config, tokens: usize, rank: usize) -> Result<Self> {
        let tokens = tokens.next_multiple_of(LOGITS);
        let numbers = |label, count| Buffer::zeros(gpu, label, count);
        let rows = |label, columns: usize| numbers(label, tokens * columns);
        let (h, q, f) = (config.hidden, config.query_rows(), config.feed_forward);
        let joints = Product::ALL.map(|product| Joint::new(product, config, rank));
        let slots = joints.iter().map(|joint| joint.slots).max().unwrap_or(0);
        let thin = joints.iter().map(|joint| joint.rank).max().unwrap_or(0);
        let mut kv = KvCache::new(config, KvFormat::F32, tokens + 8);
        for layer in 0..config.layers {
            kv.allocate(gpu, layer)?;
        }
        Ok(Self {
            tokens,
            ids: numbers("ids", tokens)?,
            targets: numbers("targets", tokens)?,
            losses: numbers("losses", tokens)?,
            logits: numbers("logits", LOGITS * config.vocab)?,
            teacher_probabilities: None,
            state: numbers("state", 4)?,
            one: Buffer::from_slice(gpu, "one", &[1f32])?,
            gates: numbers("gates", 2 * config.layers * STRIDE)?,
            scores: (0..config.layers)
                .map(|_| numbers("scores", 2 * tokens))
                .collect::<Result<_>>()?,
            dz: numbers("dz", 2 * tokens)?,
            x: rows("x", h)?,
            dx: rows("dx", h)?,
            saved: (0..config.layers)
                .map(|_| Ok([rows("saved x", h)?, rows("saved x", h)?]))
                .collect::<Result<_>>()?,
            normed: rows("normed", h)?,
            d_normed: rows("d_normed", h)?,
            queries: rows("queries", q)?,
            d_queries: rows("d_queries", q)?,
            inner: [rows("attended", q)?, rows("activation", f)?],
            d_inner: rows("d_inner", q.max(f))?,
            outer: rows("outer", slots)?,
            d_outer: rows("d_outer", slots)?,
            kv,
            rows: rows("rows", 2 * config.heads)?,
            dk: rows("dk", config.key_rows())?,
            dv: rows("dv", config.key_rows())?,
            h_outer: rows("h", thin)?,
            h_inner: rows("h", thin)?,
            dh: rows("dh", thin)?,
        })
    }

    /// The gates of one layer, `[2, STRIDE]`.
    pub(super) fn layer_gates(&self, layer: usize) -> Buffer {
        let size = 8 * STRIDE as u64;
        self.gates.slice(layer as u64 * size, size)
    }

    /// One gate, `[1]`.
    pub(super) fn gate(&self, layer: usize, sublayer: usize) -> Buffer {
        let size = 4 * STRIDE as u64;
        self.gates.slice((2 * layer + sublayer) as u64 * size, size)
    }
}
