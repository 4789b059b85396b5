//! From the residual stream to logits, and from those to a token or to losses.

use super::buffers::{Chunk, Decode};
use super::llama::Llama;
use crate::error::{Error, Result};
use crate::gpu::{ALIGNMENT_BYTES, Buffer, Gpu, Step};
use crate::kernels::cross_entropy::Teacher;
use crate::kernels::matvec::Norm;
use crate::kernels::{self, Epilogue, Updates};
use crate::trace::Sampling;
use crate::weights::pack::Linear;
use std::ops::Range;

impl Llama {
    pub(crate) fn head(&self) -> &Linear {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// Bytes of weights of the head.
    pub fn head_bytes(&self) -> u64 {
        self.head().bytes()
    }

    /// The step that applies the last norm to streams `x` of `tokens` tokens: `y [T, H]`.
    pub fn final_norm_step(&self, gpu: &Gpu, [x, y]: [&Buffer; 2], tokens: usize) -> Result<Step> {
        let shape = [tokens, self.config.hidden];
        kernels::rms_norm::step(
            gpu,
            "norm",
            [x, &self.norm, y],
            shape,
            self.config.rms_norm_epsilon,
        )
    }

    /// The steps from the residual stream of one token to its logits.
    pub fn head_steps(&self, gpu: &Gpu, decode: &Decode) -> Result<Vec<Step>> {
        let norm = Norm {
            gamma: &self.norm,
            epsilon: self.config.rms_norm_epsilon,
        };
        kernels::matvec::steps(
            gpu,
            "head",
            self.head(),
            &decode.x,
            Some(norm),
            Updates::default(),
            Epilogue::Store { y: &decode.logits },
        )
    }

    /// The steps that write the loss of each of `targets`, which follow `tokens` of streams `[T, H]`; with a teacher's
    /// streams, the cross-entropy with what those say instead.
    pub fn loss_steps(
        &self,
        gpu: &Gpu,
        streams: &Buffer,
        teacher: Option<&Buffer>,
        tokens: Range<usize>,
        [targets, losses]: [&Buffer; 2],
    ) -> Result<Vec<Step>> {
        let (hidden, vocab) = (self.config.hidden, self.config.vocab);
        let (first, count) = (tokens.start, tokens.len());
        // Logits of a chunk of tokens at a time: as many as a binding holds, and as one dispatch computes within a quarter of a
        // submission; at least the fewest whose logits begin where a binding may begin.
        let held = gpu.binding_bytes() / (4 * vocab as u64);
        let paced = gpu.submission_flops() / 4 / (2 * vocab * hidden) as u64;
        const FEWEST: usize = ALIGNMENT_BYTES / 4;
        let chunk = (held.min(paced) as usize / FEWEST * FEWEST).clamp(FEWEST, 4 * FEWEST);
        let mut steps = Vec::new();
        let mut rows = |x: &Buffer| {
            let normed = Buffer::zeros(gpu, "normed", tokens.end * hidden)?;
            steps.push(self.final_norm_step(gpu, [x, &normed], tokens.end)?);
            let logits = Buffer::zeros(gpu, "logits", chunk.min(count) * vocab)?;
            Ok::<_, Error>([normed, logits])
        };
        let own = rows(streams)?;
        let teacher = teacher.map(rows).transpose()?;
        for start in (0..count).step_by(chunk) {
            let chunk = Chunk {
                first: first + start,
                tokens: chunk.min(count - start),
            };
            let shape = [chunk.tokens, vocab];
            let head = |[normed, logits]: &[Buffer; 2]| {
                let x = chunk.rows(normed, hidden);
                let (shape, y) = ([chunk.tokens, 0], Epilogue::Store { y: logits });
                kernels::matmul::steps(gpu, "head", self.head(), &x, shape, None, y)
            };
            let mut taught = None;
            if let Some(teacher) = &teacher {
                let [_, probabilities] = teacher;
                steps.extend(head(teacher)?);
                steps.push(kernels::softmax::step(gpu, probabilities, shape)?);
                taught = Some(Teacher {
                    probabilities,
                    share: 1.0,
                });
            }
            steps.extend(head(&own)?);
            let part = |buffer: &Buffer| buffer.slice(4 * start as u64, 4 * chunk.tokens as u64);
            let buffers = [&own[1], &part(targets), &part(losses)];
            steps.push(kernels::cross_entropy::step(gpu, buffers, taught, shape)?);
        }
        Ok(steps)
    }

    /// The step that chooses a token from the logits.
    pub fn sample_step(&self, gpu: &Gpu, decode: &Decode, sampling: &Sampling) -> Result<Step> {
        let Decode {
            logits,
            state,
            weights,
            ..
        } = decode;
        // 0, or so little that only the most likely token is left.
        if (1.0 / sampling.temperature).is_finite() {
            kernels::sample::step(gpu, [logits, weights, state], self.config.vocab, sampling)
        } else {
            kernels::argmax::step(gpu, logits, state, self.config.vocab)
        }
    }
}
