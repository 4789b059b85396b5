//! What fusing gains: each fused kernel against the same work in several dispatches, in turns.

use super::{Bench, Fusion, Matrix, sum};
use crate::error::Result;
use crate::gpu::{Plan, Step};
use crate::kernels::matvec::Norm;
use crate::kernels::{self, Epilogue, Updates};
use crate::weights::pack::{Linear, Order};

/// What was fused, and the steps of it in one and apart.
type Pair = (&'static str, Vec<Step>, Vec<Step>);

impl Bench<'_> {
    pub(super) fn fusions(&self) -> Result<Vec<Fusion>> {
        let pairs = [
            self.norm_inside()?,
            self.joint()?,
            self.swiglu_behind()?,
            self.residual_behind()?,
        ];
        pairs.into_iter().map(|pair| self.compare(pair)).collect()
    }

    fn norm_inside(&self) -> Result<Pair> {
        let hidden = self.config.hidden;
        let (x, gamma, normed) = (
            self.numbers(hidden)?,
            self.numbers(hidden)?,
            self.zeros(hidden)?,
        );
        let epsilon = self.config.rms_norm_epsilon;
        let norm = Norm {
            gamma: &gamma,
            epsilon,
        };
        let fused = self.linear(Matrix::GateUp, self.plan.formats[0])?;
        let mut apart = vec![kernels::rms_norm::step(
            self.gpu,
            "norm",
            [&x, &gamma, &normed],
            [1, hidden],
            epsilon,
        )?];
        apart.extend(self.steps(&fused, &normed, None, None)?);
        let fused = self.steps(&fused, &x, Some(norm), None)?;
        Ok(("RMSNorm inside gate_up, not before it", fused, apart))
    }

    fn joint(&self) -> Result<Pair> {
        let config = self.config;
        let (x, gamma) = (self.numbers(config.hidden)?, self.numbers(config.hidden)?);
        let norm = Norm {
            gamma: &gamma,
            epsilon: config.rms_norm_epsilon,
        };
        let qkv = self.linear(Matrix::Qkv, self.plan.formats[0])?;
        let fused = self.steps(&qkv, &x, Some(norm), None)?;
        let mut apart = Vec::new();
        for rows in [config.query_rows(), config.key_rows(), config.key_rows()] {
            apart.extend(self.stored([rows, config.hidden], Some(norm), rows)?);
        }
        let name = "q, k and v in one product with RoPE and cache, not three without";
        Ok((name, fused, apart))
    }

    fn swiglu_behind(&self) -> Result<Pair> {
        let (hidden, feed_forward) = (self.config.hidden, self.config.feed_forward);
        let x = self.numbers(hidden)?;
        let gate_up = self.linear(Matrix::GateUp, self.plan.formats[0])?;
        let fused = self.steps(&gate_up, &x, None, None)?;
        let mut apart = self.stored([2 * feed_forward, hidden], None, 2 * feed_forward)?;
        apart.push(self.pass(feed_forward)?);
        let name = "SwiGLU behind gate_up, not after it (a copy stands for the pass)";
        Ok((name, fused, apart))
    }

    fn residual_behind(&self) -> Result<Pair> {
        let (hidden, feed_forward) = (self.config.hidden, self.config.feed_forward);
        let x = self.numbers(feed_forward)?;
        let down = self.linear(Matrix::Down, self.plan.formats[0])?;
        let fused = self.steps(&down, &x, None, None)?;
        let mut apart = self.stored([hidden, feed_forward], None, hidden)?;
        apart.push(self.pass(hidden)?);
        let name = "residual behind down, not after it (a copy stands for the pass)";
        Ok((name, fused, apart))
    }

    /// A product whose `rows` are stored as they are.
    fn stored(&self, shape: [usize; 2], norm: Option<Norm<'_>>, rows: usize) -> Result<Vec<Step>> {
        let format = self.plan.formats[0].for_columns(shape[1]);
        let linear = Linear::random(self.gpu, "part", Order::Plain, format, shape)?;
        let (x, y) = (self.numbers(linear.columns)?, self.zeros(rows)?);
        let epilogue = Epilogue::Store { y: &y };
        kernels::matvec::steps(
            self.gpu,
            "part",
            &linear,
            &x,
            norm,
            Updates::default(),
            epilogue,
        )
    }

    /// The least that a separate pass over `count` results would cost: it reads and writes each once, and
    /// an addition or SwiGLU reads twice as much.
    fn pass(&self, count: usize) -> Result<Step> {
        let (x, y) = (self.numbers(count)?, self.zeros(count)?);
        kernels::copy::step(self.gpu, [&x, &y], count)
    }

    fn compare(&self, (name, fused, apart): Pair) -> Result<Fusion> {
        let plans = [Plan::new(self.gpu, fused)?, Plan::new(self.gpu, apart)?];
        let mut nanos = [Vec::new(), Vec::new()];
        for round in 0..=5 * self.plan.rounds {
            for (nanos, plan) in nanos.iter_mut().zip(&plans) {
                let time = sum(self.gpu, plan)?;
                if round > 0 {
                    nanos.push(time);
                }
            }
        }
        Ok(Fusion {
            shape: self.config.name.clone(),
            name: name.to_owned(),
            nanos,
        })
    }
}
