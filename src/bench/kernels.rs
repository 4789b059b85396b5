//! Timing each kernel alone, on the shapes of known models, against what the GPU can do at best.
//!
//! The roofs, copying and multiply-adds, are measured in the same run. A kernel's share of the roof is the
//! time that its bytes or its floating-point operations would take at that rate, whichever is longer, over
//! the time that it took. Matrices that fit a cache take turns with copies of themselves, as layers do.

mod fusions;
mod others;

use super::statistics::{change, median};
use crate::error::{Error, Result};
use crate::gpu::plan::Timestamps;
use crate::gpu::{Buffer, Gpu, Plan, Step};
use crate::kernels::matvec::Norm;
use crate::kernels::{self, Epilogue, KV_TILE, KvFormat, Rope, Updates};
use crate::model::config::Config;
use crate::trace::{Detail, GpuSummary};
use crate::weights::Format;
use crate::weights::pack::{Linear, Order};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// What to time.
#[derive(Clone, Debug)]
pub struct KernelPlan {
    /// The shapes.
    pub shapes: Vec<Config>,
    /// The formats of the weight matrices.
    pub formats: Vec<Format>,
    /// Only kernels whose name contains this.
    pub kernel: String,
    /// Tokens of a prefill.
    pub tokens: usize,
    /// Tokens of context of a decoded token.
    pub depth: usize,
    /// How often, after once to warm up.
    pub rounds: usize,
}

/// What the kernels cost on a GPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KernelReport {
    /// The GPU.
    pub gpu: GpuSummary,
    /// Whether the times are the GPU's own; otherwise the host's wall time.
    pub timestamps: bool,
    /// Bytes read and written per second by a copy.
    pub copy_rate: f64,
    /// Floating-point operations per second of dependent multiply-adds.
    pub flop_rate: f64,
    /// What a dispatch costs that does next to nothing, in nanoseconds of the host's clock.
    pub dispatch_nanos: f64,
    /// One per kernel, part, shape and format.
    pub kernels: Vec<KernelTime>,
    /// What fusing gains.
    pub fusions: Vec<Fusion>,
}

/// The cost of one kernel on one shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KernelTime {
    /// The shape's name.
    pub shape: String,
    /// The shader.
    pub kernel: String,
    /// The part of the model, or the sizes.
    pub part: String,
    /// The weights' format; empty for kernels without.
    pub format: String,
    /// Time of each round, in nanoseconds.
    pub nanos: Vec<f64>,
    /// Bytes that must be read and written.
    pub bytes: u64,
    /// Floating-point operations in products and attention.
    pub flops: u64,
}

impl KernelTime {
    /// The median, in nanoseconds.
    pub fn median_nanos(&self) -> f64 {
        median(&self.nanos).unwrap_or(f64::NAN)
    }
}

/// One fused kernel against the same work in several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fusion {
    /// The shape's name.
    pub shape: String,
    /// What was fused.
    pub name: String,
    /// Time of each round fused and apart, in nanoseconds.
    pub nanos: [Vec<f64>; 2],
}

impl Fusion {
    /// Relative change of time by fusing, with half the width of its 95 % interval.
    pub fn gain(&self) -> Option<(f64, f64)> {
        change(&self.nanos[1], &self.nanos[0])
    }
}

/// Bytes that a case touches in a round, so that no cache holds them all.
const TOUCHED: u64 = 64 << 20;

/// Work that is timed: the same steps on several copies of the weights.
struct Case {
    kernel: &'static str,
    part: String,
    format: &'static str,
    bytes: u64,
    copies: Vec<Vec<Step>>,
}

/// Times everything that the plan asks for. `progress` hears what comes next.
pub fn run(
    gpu: &Gpu,
    plan: &KernelPlan,
    progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<KernelReport> {
    let mut report = KernelReport {
        gpu: gpu.summary.clone(),
        timestamps: gpu.class.timestamps,
        copy_rate: 0.0,
        flop_rate: 0.0,
        dispatch_nanos: 0.0,
        kernels: Vec::new(),
        fusions: Vec::new(),
    };
    let mut next = |what: &str| match progress(what) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Cancelled),
    };
    next("roofs")?;
    (report.copy_rate, report.flop_rate) = roofs(gpu, plan.rounds)?;
    report.dispatch_nanos = dispatch_nanos(gpu, plan.rounds)?;
    for config in &plan.shapes {
        let bench = Bench { gpu, config, plan };
        let wanted = |kernel: &str| kernel.contains(&plan.kernel);
        let mut time = |case: Case| -> Result<()> {
            next(&format!("{} {} {}", config.name, case.kernel, case.part))?;
            let flops = case.copies[0].iter().map(|step| step.flops).sum();
            report.kernels.push(KernelTime {
                shape: config.name.clone(),
                kernel: case.kernel.to_owned(),
                part: case.part,
                format: case.format.to_owned(),
                nanos: nanos(gpu, &case.copies, plan.rounds)?,
                bytes: case.bytes,
                flops,
            });
            Ok(())
        };
        for format in &plan.formats {
            for matrix in Matrix::ALL {
                let stand_in = format.for_columns(bench.shape(matrix).2);
                // One that is timed anyway is timed once.
                if stand_in != *format && plan.formats.contains(&stand_in) {
                    continue;
                }
                for kernel in ["matvec", "matmul"] {
                    if wanted(kernel) {
                        time(bench.product(kernel, matrix, *format)?)?;
                    }
                }
            }
        }
        for case in bench.others()? {
            if wanted(case.kernel) {
                time(case)?;
            }
        }
        if wanted("matvec") {
            next(&format!("{} fusions", config.name))?;
            report.fusions.extend(bench.fusions()?);
        }
    }
    Ok(report)
}

/// Bytes per second of a copy and floating-point operations per second.
fn roofs(gpu: &Gpu, rounds: usize) -> Result<(f64, f64)> {
    let count = 1 << 23;
    let zeros = || Buffer::zeros(gpu, "roof", count);
    let (x, y) = (zeros()?, zeros()?);
    let copy = kernels::copy::step(gpu, [&x, &y], count)?;
    // Invocations enough for the widest GPUs: 65,536, of eight vec4 each.
    let fma = kernels::fma::step(gpu, [&x, &y], 1 << 21, 4096, [-0.75, 0.5])?;
    let flops = fma.flops as f64;
    // The best of the rounds: a roof is what can be reached.
    let best = |step| -> Result<f64> {
        let nanos = nanos(gpu, &[vec![step]], rounds.max(5))?;
        Ok(nanos.into_iter().fold(f64::INFINITY, f64::min))
    };
    Ok((8e9 * count as f64 / best(copy)?, 1e9 * flops / best(fma)?))
}

/// The time of each of many dispatches that copy four numbers to and fro.
fn dispatch_nanos(gpu: &Gpu, rounds: usize) -> Result<f64> {
    const COUNT: usize = 256;
    let (x, y) = (Buffer::zeros(gpu, "x", 4)?, Buffer::zeros(gpu, "y", 4)?);
    let there = kernels::copy::step(gpu, [&x, &y], 4)?;
    let back = kernels::copy::step(gpu, [&y, &x], 4)?;
    let steps = [there, back].into_iter().cycle().take(COUNT);
    let plan = Plan::new(gpu, steps.collect())?;
    let mut best = f64::INFINITY;
    for _ in 0..=rounds.max(5) {
        let clock = std::time::Instant::now();
        plan.run(gpu)?;
        best = best.min(clock.elapsed().as_nanos() as f64 / COUNT as f64);
    }
    Ok(best)
}

/// The time of one copy in each round.
fn nanos(gpu: &Gpu, copies: &[Vec<Step>], rounds: usize) -> Result<Vec<f64>> {
    let count = copies.len() as f64;
    let plan = Plan::new(gpu, copies.concat())?;
    let mut rounds = (0..=rounds).map(|_| Ok(sum(gpu, &plan)? / count));
    rounds.next().transpose()?;
    rounds.collect()
}

/// The time of all dispatches of a plan.
fn sum(gpu: &Gpu, plan: &Plan) -> Result<f64> {
    let Some(timestamps) = Timestamps::new(gpu, plan, Detail::Dispatch)? else {
        let clock = std::time::Instant::now();
        plan.run(gpu)?;
        return Ok(clock.elapsed().as_nanos() as f64);
    };
    let clock = std::time::Instant::now();
    plan.submit(gpu, Some(&timestamps), |_| {});
    gpu.wait()?;
    let waited = clock.elapsed();
    let (times, dropped) = timestamps.read_back(gpu, plan)?;
    // A sum without some of them would be too short.
    if dropped > 0 {
        return Ok(waited.as_nanos() as f64);
    }
    Ok(times.iter().map(|time| time.duration_nanos as f64).sum())
}

/// A weight matrix of a layer, or the head.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Matrix {
    Qkv,
    O,
    GateUp,
    Down,
    Head,
}

impl Matrix {
    const ALL: [Self; 5] = [Self::Qkv, Self::O, Self::GateUp, Self::Down, Self::Head];

    /// What reports call it.
    fn name(self) -> &'static str {
        match self {
            Self::Qkv => "qkv",
            Self::O => "o",
            Self::GateUp => "gate_up",
            Self::Down => "down",
            Self::Head => "head",
        }
    }

    /// Whether it takes the residual stream, normalised.
    fn is_normed(self) -> bool {
        matches!(self, Self::Qkv | Self::GateUp | Self::Head)
    }
}

struct Bench<'a> {
    gpu: &'a Gpu,
    config: &'a Config,
    plan: &'a KernelPlan,
}

impl Bench<'_> {
    /// Numbers of about unit size.
    fn numbers(&self, count: usize) -> Result<Buffer> {
        let pattern: Vec<f32> = (0..4096)
            .map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0)
            .collect();
        let bytes = bytemuck::cast_slice(&pattern);
        Buffer::repeated(self.gpu, "numbers", bytes, 4 * count as u64)
    }

    fn zeros(&self, count: usize) -> Result<Buffer> {
        Buffer::zeros(self.gpu, "zeros", count)
    }

    /// Order, rows and columns of a matrix.
    fn shape(&self, matrix: Matrix) -> (Order, usize, usize) {
        let config = self.config;
        let (hidden, queries) = (config.hidden, config.query_rows());
        match matrix {
            Matrix::Qkv => (Order::Pairs, queries + 2 * config.key_rows(), hidden),
            Matrix::O => (Order::Plain, hidden, queries),
            Matrix::GateUp => (Order::Halves, 2 * config.feed_forward, hidden),
            Matrix::Down => (Order::Plain, hidden, config.feed_forward),
            Matrix::Head => (Order::Plain, config.vocab, hidden),
        }
    }

    fn linear(&self, matrix: Matrix, format: Format) -> Result<Linear> {
        let (order, rows, columns) = self.shape(matrix);
        let format = format.for_columns(columns);
        Linear::random(self.gpu, matrix.name(), order, format, [rows, columns])
    }

    /// What the model does with the product of a matrix.
    fn steps(
        &self,
        linear: &Linear,
        x: &Buffer,
        norm: Option<Norm<'_>>,
        tokens: Option<usize>,
    ) -> Result<Vec<Step>> {
        let (gpu, config) = (self.gpu, self.config);
        let count = tokens.unwrap_or(1);
        let y = self.zeros(count * linear.rows)?;
        let (queries, state) = (self.zeros(count * config.query_rows())?, self.zeros(4)?);
        let kv = self.zeros(2 * count.next_multiple_of(KV_TILE) * config.key_rows())?;
        let rotations = self.numbers(count * config.head_dim)?;
        let epilogue = match linear.order {
            Order::Pairs => Epilogue::Rope(Rope {
                rotations: &rotations,
                state: &state,
                queries: &queries,
                kv: &kv,
                kv_format: KvFormat::F32,
                query_rows: config.query_rows(),
                key_rows: config.key_rows(),
                head_dim: config.head_dim,
            }),
            Order::Halves => Epilogue::SiluMul { y: &y },
            Order::Plain if linear.name == "head" => Epilogue::Store { y: &y },
            Order::Plain => Epilogue::Residual { y: &y },
        };
        match tokens {
            None => kernels::matvec::steps(
                gpu,
                &linear.name,
                linear,
                x,
                norm,
                Updates::default(),
                epilogue,
            ),
            Some(tokens) => {
                kernels::matmul::steps(gpu, &linear.name, linear, x, [tokens, 0], None, epilogue)
            }
        }
    }

    fn product(&self, kernel: &'static str, matrix: Matrix, format: Format) -> Result<Case> {
        let tokens = match kernel {
            "matvec" => None,
            // Logits of a whole prompt fit no binding.
            _ if matrix == Matrix::Head => Some(32),
            _ => Some(self.plan.tokens),
        };
        let linear = self.linear(matrix, format)?;
        let count = (TOUCHED / linear.bytes()).clamp(1, 16);
        let count = if tokens.is_some() { 1 } else { count };
        let x = self.numbers(tokens.unwrap_or(1) * linear.columns)?;
        let gamma = self.numbers(linear.columns)?;
        let norm = (matrix.is_normed() && tokens.is_none()).then_some(Norm {
            gamma: &gamma,
            epsilon: self.config.rms_norm_epsilon,
        });
        let mut copies = vec![self.steps(&linear, &x, norm, tokens)?];
        for _ in 1..count {
            copies.push(self.steps(&self.linear(matrix, format)?, &x, norm, tokens)?);
        }
        let vectors = 4 * tokens.unwrap_or(1) * (linear.rows + linear.columns);
        let times = tokens.map_or(String::new(), |tokens| format!(" x {tokens}"));
        Ok(Case {
            kernel,
            part: format!(
                "{} [{}, {}]{times}",
                matrix.name(),
                linear.rows,
                linear.columns
            ),
            format: linear.slices[0].format.name(),
            bytes: linear.bytes() + vectors as u64,
            copies,
        })
    }
}
