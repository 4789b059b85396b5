//! From the stream to the loss, and back.

use super::super::workspace::LOGITS;
use super::{Network, Pass};
use crate::error::Result;
use crate::gpu::{Buffer, Step};
use crate::kernels::{self, Epilogue};

impl Network<'_> {
    /// The steps from the stream to the losses of the tokens from `first` on, and, if a token's loss weighs anything,
    /// to the gradient of the stream, whose rows must be zero.
    pub(in crate::train) fn head(
        &self,
        first: usize,
        pass: Pass,
        weight: Option<f32>,
    ) -> Result<Vec<Step>> {
        let (gpu, config, work) = (self.gpu, &self.model.config, &self.work);
        let (hidden, vocab) = (config.hidden, config.vocab);
        let epsilon = config.rms_norm_epsilon;
        let mut steps = Vec::new();
        for start in (first..pass.tokens).step_by(LOGITS) {
            let tokens = LOGITS.min(pass.tokens - start);
            let rows = |buffer: &Buffer| {
                buffer.slice(4 * (start * hidden) as u64, 4 * (tokens * hidden) as u64)
            };
            let column =
                |buffer: &Buffer| buffer.slice(4 * (start - first) as u64, 4 * tokens as u64);
            let (x, dx, normed, dnormed) = (
                rows(&work.x),
                rows(&work.dx),
                rows(&work.normed),
                rows(&work.dnormed),
            );
            let (targets, losses) = (column(&work.targets), column(&work.losses));
            let norm = [&x, &self.model.norm, &normed];
            steps.push(kernels::rms_norm::step(
                gpu,
                "norm",
                norm,
                [tokens, hidden],
                epsilon,
            )?);
            let epilogue = Epilogue::Slots { y: &work.logits };
            steps.extend(kernels::matmul::steps(
                gpu,
                "head",
                self.model.head(),
                &normed,
                [tokens, 0],
                None,
                epilogue,
            )?);
            steps.push(kernels::cross_entropy::step(
                gpu,
                [&work.logits, &targets, &losses],
                [tokens, vocab],
            )?);
            let Some(weight) = weight else { continue };
            steps.push(kernels::cross_entropy_backward::step(
                gpu,
                [&work.logits, &targets],
                [tokens, vocab],
                weight,
            )?);
            steps.extend(kernels::matmul_backward::steps(
                gpu,
                "head.backward",
                self.model.head(),
                [&work.logits, &dnormed],
                tokens,
                None,
            )?);
            let buffers = [&x, &self.model.norm, &dnormed, &dx];
            steps.push(kernels::rms_norm_backward::step(
                gpu,
                "norm.backward",
                buffers,
                [tokens, hidden],
                epsilon,
            )?);
        }
        Ok(steps)
    }
}
