//! Which candidates of a kernel are fastest on this adapter: measured once, then kept.

use super::median;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Plan, Tuning};
use crate::kernels::{Epilogue, matmul, matvec};
use crate::weights::Format;
use crate::weights::pack::{Linear, Order};
use std::ops::ControlFlow;
use std::time::Instant;

/// Rows and columns of the matrix that candidates are timed on: as much as fits no cache of a small GPU.
const MATVEC: [usize; 2] = [8192, 2048];

/// The same for prefill, where arithmetic is what counts.
const MATMUL: [usize; 2] = [1024, 1024];

/// Tokens of the prefill.
const TOKENS: usize = 64;

/// Dispatches that are timed together.
const DISPATCHES: usize = 4;

/// A candidate, what was timed, and the median time of a dispatch in nanoseconds.
pub type Timed = (Tuning, &'static str, f64);

/// Times all candidates in turns and sets the fastest; with the times. `progress` hears of rounds done and
/// in all.
pub fn tune(
    gpu: &mut Gpu,
    rounds: usize,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Vec<Timed>> {
    let before = gpu.class.tuning;
    let result = search(gpu, rounds, progress);
    if result.is_err() {
        gpu.class.tuning = before;
    }
    result
}

fn search(
    gpu: &mut Gpu,
    rounds: usize,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Vec<Timed>> {
    let mut progress = |done: usize| match progress(done as u64, 2 * rounds as u64) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Cancelled),
    };
    let candidates = Tuning::candidates(&gpu.class);
    let mut timed = Vec::new();
    let nanos = measure(gpu, &candidates, rounds, &matvec_plan, &mut progress)?;
    timed.extend(
        candidates
            .iter()
            .zip(&nanos)
            .map(|(candidate, nanos)| (*candidate, "matvec", *nanos)),
    );
    gpu.class.tuning = fastest(&candidates, &nanos);
    let candidates = gpu.class.tuning.matmul_candidates();
    let nanos = measure(gpu, &candidates, rounds, &matmul_plan, &mut |round| {
        progress(rounds + round)
    })?;
    timed.extend(
        candidates
            .iter()
            .zip(&nanos)
            .map(|(candidate, nanos)| (*candidate, "matmul", *nanos)),
    );
    gpu.class.tuning = fastest(&candidates, &nanos);
    Ok(timed)
}

/// The candidate of the least time; the first of them all where none has one.
fn fastest(candidates: &[Tuning], nanos: &[f64]) -> Tuning {
    let best = (0..candidates.len()).min_by(|a, b| nanos[*a].total_cmp(&nanos[*b]));
    candidates[best.unwrap_or(0)]
}

/// The median time of a dispatch of each candidate, which take turns in every round.
fn measure(
    gpu: &mut Gpu,
    candidates: &[Tuning],
    rounds: usize,
    plan: &dyn Fn(&Gpu) -> Result<Plan>,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<f64>> {
    let mut plans = Vec::new();
    for candidate in candidates {
        gpu.class.tuning = *candidate;
        let plan = plan(gpu)?;
        plan.run(gpu)?;
        plans.push(plan);
    }
    let mut nanos = vec![Vec::new(); candidates.len()];
    for round in 0..rounds {
        for (plan, nanos) in plans.iter().zip(&mut nanos) {
            let clock = Instant::now();
            plan.run(gpu)?;
            nanos.push(clock.elapsed().as_nanos() as f64 / DISPATCHES as f64);
        }
        progress(round + 1)?;
    }
    Ok(nanos
        .iter()
        .map(|nanos| median(nanos).unwrap_or(f64::INFINITY))
        .collect())
}

fn matvec_plan(gpu: &Gpu) -> Result<Plan> {
    let linear = Linear::random(gpu, "matvec", Order::Plain, Format::Q4_1, MATVEC)?;
    let [x, y] = buffers(gpu, [MATVEC[1], MATVEC[0]])?;
    let epilogue = Epilogue::Store { y: &y };
    let steps = matvec::steps(gpu, "matvec", &linear, &x, None, epilogue)?;
    Plan::new(gpu, [steps.as_slice(); DISPATCHES].concat())
}

fn matmul_plan(gpu: &Gpu) -> Result<Plan> {
    let linear = Linear::random(gpu, "matmul", Order::Plain, Format::Q4_1, MATMUL)?;
    let [x, y] = buffers(gpu, [TOKENS * MATMUL[1], TOKENS * MATMUL[0]])?;
    let epilogue = Epilogue::Store { y: &y };
    let steps = matmul::steps(gpu, "matmul", &linear, &x, TOKENS, 0, epilogue)?;
    Plan::new(gpu, [steps.as_slice(); DISPATCHES].concat())
}

fn buffers(gpu: &Gpu, counts: [usize; 2]) -> Result<[Buffer; 2]> {
    let numbers = |count: usize| Buffer::zeroed(gpu, "numbers", 4 * count as u64);
    Ok([numbers(counts[0])?, numbers(counts[1])?])
}
