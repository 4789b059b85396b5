//! From the stream to the loss, and back.

use super::super::workspace::LOGITS;
use super::{Network, Pass};
use crate::error::Result;
use crate::gpu::{Buffer, Step};
use crate::kernels::cross_entropy::Teacher;
use crate::kernels::rms_norm_backward::RmsNormBackward;
use crate::kernels::{self, Epilogue};

impl Network<'_> {
    /// The steps from the stream to the logits of `tokens` tokens from `start` on, by way of their norm.
    fn logits(&self, start: usize, tokens: usize, y: &Buffer) -> Result<Vec<Step>> {
        let (gpu, config, work) = (self.gpu, &self.model.config, &self.work);
        let rows = |buffer: &Buffer| self.rows(buffer, start, tokens);
        let (x, normed) = (rows(&work.x), rows(&work.normed));
        let (shape, epsilon) = ([tokens, config.hidden], config.rms_norm_epsilon);
        let norm = [&x, &self.model.norm, &normed];
        let mut steps = vec![kernels::rms_norm::step(gpu, "norm", norm, shape, epsilon)?];
        let (head, epilogue) = (self.model.head(), Epilogue::Slots { y });
        steps.extend(kernels::matmul::steps(
            gpu,
            "head",
            head,
            &normed,
            [tokens, 0],
            None,
            epilogue,
        )?);
        Ok(steps)
    }

    /// Rows of the stream or of what is like it.
    pub(super) fn rows(&self, buffer: &Buffer, start: usize, tokens: usize) -> Buffer {
        let row = 4 * self.model.config.hidden as u64;
        buffer.slice(start as u64 * row, tokens as u64 * row)
    }

    /// Parts of the tokens from `first` on, and the teacher's probabilities for each.
    fn parts(
        &self,
        first: usize,
        pass: Pass,
    ) -> impl Iterator<Item = (usize, usize, Option<Buffer>)> {
        let size = (4 * LOGITS * self.model.config.vocab) as u64;
        (first..pass.tokens)
            .step_by(LOGITS)
            .enumerate()
            .map(move |(index, start)| {
                let teacher = self.work.teacher_probabilities.as_ref();
                let teacher = teacher.map(|teacher| teacher.slice(index as u64 * size, size));
                (start, LOGITS.min(pass.tokens - start), teacher)
            })
    }

    /// The steps from the stream to the probabilities that a student is to learn from.
    pub(in crate::train) fn teach(&self, first: usize, pass: Pass) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for (start, tokens, teacher) in self.parts(first, pass) {
            let Some(teacher) = teacher else { continue };
            steps.extend(self.logits(start, tokens, &teacher)?);
            let shape = [tokens, self.model.config.vocab];
            steps.push(kernels::softmax::step(self.gpu, &teacher, shape)?);
        }
        Ok(steps)
    }

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
        let mut steps = Vec::new();
        for (start, tokens, teacher) in self.parts(first, pass) {
            let column =
                |buffer: &Buffer| buffer.slice(4 * (start - first) as u64, 4 * tokens as u64);
            let (targets, losses) = (column(&work.targets), column(&work.losses));
            let shape = [tokens, vocab];
            steps.extend(self.logits(start, tokens, &work.logits)?);
            let loss = [&work.logits, &targets, &losses];
            steps.push(kernels::cross_entropy::step(gpu, loss, None, shape)?);
            let Some(weight) = weight else { continue };
            let teacher = teacher.as_ref().map(|probabilities| Teacher {
                probabilities,
                share: self.distil,
            });
            let loss = [&work.logits, &targets];
            steps.push(kernels::cross_entropy_backward::step(
                gpu, loss, teacher, shape, weight,
            )?);
            let rows = |buffer: &Buffer| self.rows(buffer, start, tokens);
            let (x, dx, d_normed) = (rows(&work.x), rows(&work.dx), rows(&work.d_normed));
            let back = [&work.logits, &d_normed];
            let head = self.model.head();
            steps.extend(kernels::matmul_backward::steps(
                gpu,
                "head.backward",
                head,
                back,
                tokens,
                None,
            )?);
            let norm = RmsNormBackward {
                x: &x,
                gamma: &self.model.norm,
                dy: &d_normed,
                dx: &dx,
            };
            let (shape, epsilon) = ([tokens, hidden], config.rms_norm_epsilon);
            steps.push(kernels::rms_norm_backward::step(
                gpu,
                "norm.backward",
                norm,
                shape,
                epsilon,
            )?);
        }
        Ok(steps)
    }
}
