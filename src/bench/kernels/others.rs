//! Kernels that read no weight matrix.

use super::{Bench, Case};
use crate::error::Result;
use crate::gpu::{Buffer, Step};
use crate::kernels::attention::Attention;
use crate::kernels::router_score::Routers;
use crate::kernels::{self, KV_TILE, KvFormat};
use crate::trace::Sampling;

/// Queries and results of some tokens, and keys and values of some positions.
struct Attended {
    queries: Buffer,
    kv: Buffer,
    y: Buffer,
}

impl Attended {
    /// Numbers that are read or written.
    fn numbers(&self) -> usize {
        let bytes: u64 = [&self.queries, &self.kv, &self.y]
            .map(Buffer::size_bytes)
            .iter()
            .sum();
        bytes as usize / 4
    }
}

impl Bench<'_> {
    pub(super) fn others(&self) -> Result<Vec<Case>> {
        Ok(vec![
            self.attention_decode()?,
            self.attention()?,
            self.rms_norm()?,
            self.router_score()?,
            self.argmax()?,
            self.sample()?,
        ])
    }

    fn attention_decode(&self) -> Result<Case> {
        let (config, depth) = (self.config, self.plan.depth);
        let heads = self.heads(1, depth)?;
        let parts = kernels::attention_decode::parts(config.sizes());
        let buffers = [&self.state()?, &self.zeros(parts)?];
        let view = self.view(&heads);
        let name = "attention";
        let steps = kernels::attention_decode::steps(self.gpu, name, view, buffers, depth, None)?;
        let part = format!("after {depth}");
        Ok(case("attention_decode", part, heads.numbers(), steps))
    }

    fn attention(&self) -> Result<Case> {
        let tokens = self.plan.tokens;
        let heads = self.heads(tokens, tokens)?;
        let view = self.view(&heads);
        let step = kernels::attention::step(self.gpu, "attention", view, tokens, 0)?;
        let part = format!("x {tokens}");
        Ok(case("attention", part, heads.numbers(), vec![step]))
    }

    fn rms_norm(&self) -> Result<Case> {
        let (tokens, hidden) = (self.plan.tokens, self.config.hidden);
        let (x, gamma) = (self.numbers(tokens * hidden)?, self.numbers(hidden)?);
        let y = self.zeros(tokens * hidden)?;
        let (shape, epsilon) = ([tokens, hidden], self.config.rms_norm_epsilon);
        let step = kernels::rms_norm::step(self.gpu, "norm", [&x, &gamma, &y], shape, epsilon)?;
        let part = format!("x {tokens}");
        Ok(case("rms_norm", part, 2 * tokens * hidden, vec![step]))
    }

    fn router_score(&self) -> Result<Case> {
        let (tokens, hidden) = (self.plan.tokens, self.config.hidden);
        let x = self.numbers(tokens * hidden)?;
        let routers = Routers {
            weights: &self.numbers(2 * hidden)?,
            biases: &self.numbers(2)?,
            count: 2,
            epsilon: Some(self.config.rms_norm_epsilon),
            scores: &self.zeros(2 * tokens)?,
            stride: tokens,
        };
        let shape = [tokens, hidden];
        let step = kernels::router_score::step(self.gpu, "router", routers, &x, shape, 0)?;
        let part = format!("x {tokens}");
        Ok(case("router_score", part, tokens * hidden, vec![step]))
    }

    fn argmax(&self) -> Result<Case> {
        let vocab = self.config.vocab;
        let logits = self.numbers(vocab)?;
        let step = kernels::argmax::step(self.gpu, &logits, &self.state()?, vocab)?;
        Ok(case("argmax", format!("[{vocab}]"), vocab, vec![step]))
    }

    fn sample(&self) -> Result<Case> {
        let vocab = self.config.vocab;
        let buffers = [&self.numbers(vocab)?, &self.zeros(vocab)?, &self.state()?];
        let sampling = Sampling {
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            ..Default::default()
        };
        let step = kernels::sample::step(self.gpu, buffers, vocab, &sampling)?;
        Ok(case("sample", format!("[{vocab}]"), 2 * vocab, vec![step]))
    }

    /// A token at the end of the context.
    fn state(&self) -> Result<Buffer> {
        Buffer::from_slice(self.gpu, "state", &[0, self.plan.depth as u32 - 1, 0, 0])
    }

    fn heads(&self, tokens: usize, positions: usize) -> Result<Attended> {
        let queries = tokens * self.config.query_rows();
        let positions = positions.next_multiple_of(KV_TILE);
        Ok(Attended {
            queries: self.numbers(queries)?,
            kv: self.numbers(2 * positions * self.config.key_rows())?,
            y: self.zeros(queries)?,
        })
    }

    fn view<'a>(&self, heads: &'a Attended) -> Attention<'a> {
        Attention {
            queries: &heads.queries,
            kv: &heads.kv,
            kv_format: KvFormat::F32,
            y: &heads.y,
            sizes: self.config.sizes(),
        }
    }
}

fn case(kernel: &'static str, part: String, numbers: usize, steps: Vec<Step>) -> Case {
    Case {
        kernel,
        part,
        format: "",
        bytes: 4 * numbers as u64,
        copies: vec![steps],
    }
}
