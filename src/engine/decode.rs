//! Decode: one submission a token, and its id back.

use super::{Conversation, Engine, Event, Listener, Request};
use crate::error::{Error, Result};
use crate::gpu::plan::Timestamps;
use crate::gpu::read_back::ReadBack;
use crate::gpu::{Gpu, Plan};
use crate::kernels::attention_decode;
use crate::model::buffers::Decode;
use crate::model::tokenizer::TextStream;
use crate::trace::{Detail, FinishReason, Run, Submission};
use std::time::Instant;

/// Submits tokens and takes their ids back. Two read-backs take turns, so that the next token is
/// submitted before the last one has been waited for.
struct Loop<'a> {
    gpu: &'a Gpu,
    decode: &'a Decode,
    results: [ReadBack; 2],
    submitted: usize,
    clock: &'a Instant,
    timestamps: Option<Timestamps>,
}

impl Loop<'_> {
    fn submit(&mut self, plan: &Plan, run: &mut Run) -> Result<()> {
        let start_nanos = self.clock.elapsed().as_nanos() as u64;
        let result = &self.results[self.submitted % 2];
        let timestamps = self.timestamps.as_ref();
        let (encode_nanos, submit_nanos) = plan.submit(self.gpu, timestamps, |encoder| {
            result.record(encoder, &self.decode.state);
        });
        result.request(self.gpu);
        let submission = Submission {
            token: self.submitted as u32,
            start_nanos,
            encode_nanos,
            submit_nanos,
            wall_nanos: 0,
            dispatches: plan.steps().len() as u32,
        };
        self.submitted += 1;
        super::note(self.gpu, self.clock, run, plan, submission, timestamps)
    }

    /// Waits for the token of submission `index`.
    fn token(&self, index: usize, vocab: usize) -> Result<u32> {
        let bytes = self.results[index % 2].wait(self.gpu)?;
        let id: u32 = bytemuck::pod_read_unaligned(&bytes);
        if id as usize >= vocab {
            return Err(Error::gpu(
                "the logits are not numbers",
                "the model file may be damaged, or the driver is at fault: try another GPU (`--device`)",
            ));
        }
        Ok(id)
    }
}

impl Engine {
    pub(super) fn decode(
        &mut self,
        request: &Request,
        max_tokens: usize,
        conversation: &mut Conversation,
        clock: &Instant,
        run: &mut Run,
        listener: &mut Listener<'_>,
    ) -> Result<()> {
        let gpu = &self.gpu;
        let sample = self
            .model
            .sample_step(gpu, &self.decode, &request.sampling)?;
        let mut first = self.model.head_steps(gpu, &self.decode)?;
        first.push(sample.clone());
        let answered = (&conversation.cache, &conversation.mask);
        let plan = |position: usize| {
            let model = &self.model;
            let mut steps = model.decode_steps(gpu, &self.decode, answered, position)?;
            steps.push(sample.clone());
            Plan::new(gpu, steps)
        };
        let splits = |position| attention_decode::splits(&gpu.class, position);
        let begin = conversation.ids.len();
        run.prefill_dispatches += first.len() as u32;
        let first = Plan::new(gpu, first)?;
        let results = [ReadBack::new(gpu, 4), ReadBack::new(gpu, 4)];
        let timestamps = Timestamps::new(gpu, &first, request.detail)?;
        // Timing a dispatch waits for it, so there is nothing to overlap.
        let ahead = usize::from(request.detail == Detail::None);
        let mut tokens = Loop {
            gpu,
            decode: &self.decode,
            results,
            submitted: 0,
            clock,
            timestamps,
        };
        if max_tokens > 0 {
            tokens.submit(&first, run)?;
        }
        // Made while the first one is worked on.
        let mut next = plan(begin)?;
        run.decode_dispatches = next.steps().len() as u32;
        tokens.timestamps = Timestamps::new(gpu, &next, request.detail)?;
        let mut text = TextStream::new();
        let mut last = 0;
        run.finish_reason = Some(if max_tokens < request.max_tokens {
            FinishReason::Context
        } else {
            FinishReason::Length
        });
        for index in 0..max_tokens {
            while tokens.submitted <= (index + ahead).min(max_tokens - 1) {
                // Of the token that goes in; the first was of the prompt.
                let position = begin + tokens.submitted - 1;
                if position > begin && splits(position) != splits(position - 1) {
                    next = plan(position)?;
                    run.decode_dispatches = next.steps().len() as u32;
                    tokens.timestamps = Timestamps::new(gpu, &next, request.detail)?;
                }
                tokens.submit(&next, run)?;
            }
            let id = tokens.token(index, self.model.config.vocab)?;
            let now = clock.elapsed().as_nanos() as u64;
            match index {
                0 => run.ttft_nanos = now,
                _ => run.token_nanos.push(now - last),
            }
            last = now;
            run.answer_ids.push(id);
            conversation.ids.push(id);
            let end = request.stop_at_end && self.tokenizer.is_end(id);
            let piece = if end {
                text.finish()
            } else {
                text.push(&self.tokenizer, id)
            };
            run.answer.push_str(&piece);
            let broken_off = listener(Event::Token(id, &piece)).is_break();
            if end || broken_off {
                run.finish_reason = Some(if end {
                    FinishReason::Stop
                } else {
                    FinishReason::Cancelled
                });
                break;
            }
        }
        run.answer.push_str(&text.finish());
        // A token submitted ahead of an end is still running; its read-back must not outlive this call.
        gpu.wait()?;
        // The last token's keys and values were never computed.
        if !run.answer_ids.is_empty() {
            conversation.ids.pop();
        }
        Ok(())
    }
}
