//! Which candidates of a kernel are fastest on this GPU: measured once, then kept.

use super::statistics::median;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Plan, Tuning};
use crate::kernels::{Epilogue, Updates, matmul, matvec};
use crate::weights::Format;
use crate::weights::pack::{Linear, Order};
use std::ops::ControlFlow;
use std::time::Instant;

/// Matrices that candidates are timed on.
struct Work {
    kernel: &'static str,
    /// Rows and columns of a matrix.
    shape: [usize; 2],
    /// How many of them take turns.
    copies: usize,
    /// How often they do in one submission: handing it over and waiting for it should count for little.
    turns: usize,
    tokens: usize,
}

impl Work {
    fn dispatches(&self) -> usize {
        self.copies * self.turns
    }
}

/// Decode reads weights from memory: together, 126 MB, these are more than most caches hold.
const MATVEC: Work = Work {
    kernel: "matvec",
    shape: [8192, 2048],
    copies: 12,
    turns: 4,
    tokens: 1,
};

/// Prefill is arithmetic. So many tokens give a wide GPU work, whatever a workgroup takes of them.
const MATMUL: Work = Work {
    kernel: "matmul",
    shape: [1024, 1024],
    copies: 2,
    turns: 2,
    tokens: 256,
};

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
    let mut timed = measure(gpu, &candidates, rounds, &MATVEC, &mut progress)?;
    gpu.class.tuning = fastest(&timed);
    let candidates = gpu.class.tuning.matmul_candidates();
    let products = measure(gpu, &candidates, rounds, &MATMUL, &mut |round| {
        progress(rounds + round)
    })?;
    gpu.class.tuning = fastest(&products);
    timed.extend(products);
    Ok(timed)
}

/// The candidate of the least time.
fn fastest(timed: &[Timed]) -> Tuning {
    let best = timed.iter().min_by(|a, b| a.2.total_cmp(&b.2));
    best.expect("a class has candidates").0
}

/// The median time of a dispatch of each candidate, which take turns in every round.
fn measure(
    gpu: &mut Gpu,
    candidates: &[Tuning],
    rounds: usize,
    work: &Work,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Timed>> {
    let (mut in_buffers, mut in_textures) = (Vec::new(), Vec::new());
    let mut plans = Vec::new();
    for candidate in candidates {
        gpu.class.tuning = *candidate;
        let weights = if candidate.textures {
            &mut in_textures
        } else {
            &mut in_buffers
        };
        while weights.len() < work.copies {
            let (format, order) = (Format::Q4_1, Order::Plain);
            weights.push(Linear::random(gpu, work.kernel, order, format, work.shape)?);
        }
        let plan = plan(gpu, work, weights)?;
        plan.run(gpu)?;
        plans.push(plan);
    }
    let mut nanos = vec![Vec::new(); candidates.len()];
    for round in 0..rounds {
        for (plan, nanos) in plans.iter().zip(&mut nanos) {
            let clock = Instant::now();
            plan.run(gpu)?;
            nanos.push(clock.elapsed().as_nanos() as f64 / work.dispatches() as f64);
        }
        progress(round + 1)?;
    }
    let timed = |(candidate, nanos): (&Tuning, &Vec<f64>)| {
        let nanos = median(nanos).unwrap_or(f64::INFINITY);
        (*candidate, work.kernel, nanos)
    };
    Ok(candidates.iter().zip(&nanos).map(timed).collect())
}

fn plan(gpu: &Gpu, work: &Work, weights: &[Linear]) -> Result<Plan> {
    let numbers = |count: usize| Buffer::zeros(gpu, "numbers", work.tokens * count);
    let (x, y) = (numbers(work.shape[1])?, numbers(work.shape[0])?);
    let epilogue = Epilogue::Store { y: &y };
    let mut steps = Vec::new();
    for linear in weights.iter().cycle().take(work.dispatches()) {
        steps.extend(match work.tokens {
            1 => matvec::steps(
                gpu,
                work.kernel,
                linear,
                &x,
                None,
                Updates::default(),
                epilogue,
            )?,
            tokens => matmul::steps(gpu, work.kernel, linear, &x, [tokens, 0], None, epilogue)?,
        });
    }
    Plan::new(gpu, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_kept() {
        let timed = [(2, 3.0), (4, 1.0), (8, 2.0)].map(|(slices, nanos)| {
            let tuning = Tuning {
                one_subgroup: false,
                textures: false,
                slices,
                groups: 4,
            };
            (tuning, "k", nanos)
        });
        assert_eq!(fastest(&timed).slices, 4);
    }
}
