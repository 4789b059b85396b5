//! How time grows with length: decode against the context before it, prefill against the prompt.

use super::statistics::median;
use super::{Candidate, random_ids, request};
use crate::engine::{Engine, Policy};
use crate::error::{Error, Result};
use crate::kernels::KV_TILE;
use crate::mask::LayerMask;
use crate::trace::{Detail, GpuSummary, ModelSummary};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// What to measure.
#[derive(Clone, Debug)]
pub struct ScalingPlan {
    /// Tokens of context that decoding begins with.
    pub depths: Vec<usize>,
    /// Lengths of prompts.
    pub prompts: Vec<usize>,
    /// Tokens to decode at each depth.
    pub answer: usize,
    /// Repetitions that count; one more warms up.
    pub repetitions: usize,
}

/// Time at each length, and the lines through it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scaling {
    /// The GPU.
    pub gpu: GpuSummary,
    /// The model.
    pub model: ModelSummary,
    /// Bytes of keys and values that a token reads for each position before it.
    pub kv_bytes_per_position: u64,
    /// Depth, and the mean time per output token of each repetition in nanoseconds.
    pub decode: Vec<(usize, Vec<f64>)>,
    /// Prompt length, and the time to the first token of each repetition in nanoseconds.
    pub prefill: Vec<(usize, Vec<f64>)>,
}

/// The medians of points.
pub fn medians(points: &[(usize, Vec<f64>)]) -> Vec<(f64, f64)> {
    let point = |(x, values): &(usize, Vec<f64>)| Some((*x as f64, median(values)?));
    points.iter().filter_map(point).collect()
}

/// Least squares: the value at 0 and the slope; `None` for fewer than two different places.
pub fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let count = points.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|point| point.0), mean(&|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let joint: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    (spread > 0.0).then(|| (y - joint / spread * x, joint / spread))
}

/// Measures every length in turns.
pub fn run(
    engine: &mut Engine,
    plan: &ScalingPlan,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Scaling> {
    let empty = |lengths: &[usize]| lengths.iter().map(|at| (*at, Vec::new())).collect();
    let mut scaling = Scaling {
        gpu: engine.gpu.summary.clone(),
        model: engine.summary.clone(),
        kv_bytes_per_position: 0,
        decode: empty(&plan.depths),
        prefill: empty(&plan.prompts),
    };
    let full = Candidate {
        name: "none".to_owned(),
        policy: Policy::Fixed(LayerMask::full(engine.model.config.layers).into()),
        adapted: true,
    };
    let total = ((plan.repetitions + 1) * (plan.depths.len() + plan.prompts.len())) as u64;
    let mut done = 0;
    for repetition in 0..=plan.repetitions {
        let mut generate = |length: usize, max_tokens: usize| {
            let ids = random_ids(engine, length.max(1));
            engine.reset();
            let request = request(&ids, &full, max_tokens, Detail::None);
            let run = engine.generate(&request, &mut |_| ControlFlow::Continue(()))?;
            done += 1;
            match progress(done, total) {
                ControlFlow::Continue(()) => Ok(run),
                ControlFlow::Break(()) => Err(Error::Cancelled),
            }
        };
        for (depth, times) in &mut scaling.decode {
            let run = generate(*depth, plan.answer + 1)?;
            let capacity = (run.prompt_ids.len() + plan.answer + 1).next_multiple_of(KV_TILE);
            scaling.kv_bytes_per_position = run.kv_bytes / capacity as u64;
            let tpot = run.tpot_nanos().filter(|_| repetition > 0);
            times.extend(tpot.map(|nanos| nanos as f64));
        }
        for (prompt, times) in &mut scaling.prefill {
            let run = generate(*prompt, 1)?;
            times.extend((repetition > 0).then_some(run.ttft_nanos as f64));
        }
    }
    Ok(scaling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_points() {
        let (start, slope) = line(&[(0.0, 3.0), (2.0, 4.0), (4.0, 5.0)]).expect("two places");
        assert!((start - 3.0).abs() < 1e-12 && (slope - 0.5).abs() < 1e-12);
        assert_eq!(line(&[(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(line(&[]), None);
    }
}
