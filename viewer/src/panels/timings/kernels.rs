//! What each kernel cost over the decoded tokens of a run, or over its prefill.

use super::super::{has_time, millis};
use super::spans;
use crate::stats::{Difference, difference};
use first_wgpu::bench::statistics::quantile;
use first_wgpu::mask::Sublayer;
use first_wgpu::trace::{Dispatch, Run};
use std::collections::{BTreeMap, BTreeSet};

/// The dispatches of a kernel that are alike: of one matrix in each layer, not of all that the kernel multiplies by.
pub(super) struct Kernel {
    pub(super) key: [String; 2],
    /// Durations in nanoseconds, sorted.
    pub(super) times: Vec<u64>,
    /// Of the time of all dispatches of the part.
    share: f64,
    weight_bytes: u64,
}

/// Fewer dispatches than these have no 99th or 95th percentile, and of less than twenty there is no histogram.
pub(super) const HUNDRED: usize = 100;
pub(super) const TWENTY: usize = 20;

/// What a dispatch runs, and what for: `matvec` and `gate_up` of `L07.mlp.gate_up`, or `head`.
fn key(dispatch: &Dispatch) -> [&str; 2] {
    let label = dispatch.label.as_str();
    let inside = match (dispatch.layer, label.split_once('.')) {
        (None, _) => label,
        (Some(_), Some((_, inside))) => inside,
        // A layer that was timed as a whole.
        (Some(_), None) => "",
    };
    let of = |part: Sublayer| inside.strip_prefix(part.name())?.strip_prefix('.');
    let part = Sublayer::BOTH.into_iter().find_map(of);
    [&dispatch.kernel, part.unwrap_or(inside)]
}

impl Kernel {
    pub(super) fn title(&self) -> String {
        let [kernel, part] = &self.key;
        if part.is_empty() || part == kernel {
            kernel.clone()
        } else {
            format!("{kernel} {part}")
        }
    }

    pub(super) fn nanos(&self) -> u64 {
        self.times.iter().sum()
    }

    /// Count, sum in ms, percent of the time, mean, p50, p95 and p99 in µs, and GB/s of weights. A percentile is a time that a
    /// dispatch took.
    pub(super) fn numbers(&self) -> [f64; 8] {
        let (count, nanos) = (self.times.len(), self.nanos());
        let of = |least, share| {
            let value = quantile(&self.times, share).filter(|_| count >= least);
            value.map_or(f64::NAN, micros)
        };
        [
            count as f64,
            millis(nanos),
            100.0 * self.share,
            micros(nanos) / count as f64,
            of(1, 0.5),
            of(TWENTY, 0.95),
            of(HUNDRED, 0.99),
            self.weight_bytes as f64 / nanos.max(1) as f64,
        ]
    }
}

pub(super) fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// The dispatches of a part of a run, by what they run and what for.
pub(super) type Buckets<'a> = BTreeMap<[&'a str; 2], Vec<&'a Dispatch>>;

pub(super) fn buckets(run: &Run, prefill: bool) -> Buckets<'_> {
    let mut buckets = Buckets::new();
    for dispatch in part(run, prefill) {
        buckets.entry(key(dispatch)).or_default().push(dispatch);
    }
    buckets
}

/// The kernels of a part of a run; the one with the largest sum first.
pub(super) fn kernels(buckets: &Buckets<'_>) -> Vec<Kernel> {
    let nanos = |own: &[&Dispatch]| own.iter().map(|at| at.duration_nanos).sum::<u64>();
    let all: u64 = buckets.values().map(|own| nanos(own)).sum();
    let kernel = |(key, own): (&[&str; 2], &Vec<&Dispatch>)| {
        let mut times: Vec<u64> = own.iter().map(|at| at.duration_nanos).collect();
        times.sort_unstable();
        Kernel {
            key: key.map(str::to_owned),
            share: nanos(own) as f64 / all.max(1) as f64,
            times,
            weight_bytes: own.iter().map(|at| at.weight_bytes).sum(),
        }
    };
    let mut kernels: Vec<Kernel> = buckets.iter().map(kernel).collect();
    kernels.sort_by_key(|kernel| std::cmp::Reverse(kernel.nanos()));
    kernels
}

/// The kernels of a whole run, first the one that takes most of the prefill or of the decoded tokens: each has one colour in
/// both.
pub(super) fn by_cost(run: &Run) -> Vec<String> {
    let mut most: BTreeMap<&str, f64> = BTreeMap::new();
    for prefill in [false, true] {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for dispatch in part(run, prefill) {
            *sums.entry(&dispatch.kernel).or_default() += dispatch.duration_nanos;
        }
        let all = sums.values().sum::<u64>().max(1) as f64;
        for (name, sum) in sums {
            let share = most.entry(name).or_default();
            *share = share.max(sum as f64 / all);
        }
    }
    let mut names: Vec<&str> = most.keys().copied().collect();
    names.sort_by(|a, b| most[b].total_cmp(&most[a]));
    names.into_iter().map(str::to_owned).collect()
}

/// The dispatches of a part of a run that have a time.
fn part(run: &Run, prefill: bool) -> impl Iterator<Item = &Dispatch> {
    let own = run.dispatches.iter().filter(move |at| is_of(at, prefill));
    own.filter(|dispatch| has_time(run, dispatch))
}

fn is_of(dispatch: &Dispatch, prefill: bool) -> bool {
    (dispatch.token == 0) == prefill
}

/// How many have none.
pub(super) fn untimed(run: &Run, prefill: bool) -> usize {
    let own = run.dispatches.iter().filter(|at| is_of(at, prefill));
    own.filter(|dispatch| !has_time(run, dispatch)).count()
}

fn labels<'a>(dispatches: &[&'a Dispatch]) -> BTreeSet<&'a str> {
    dispatches.iter().map(|at| at.label.as_str()).collect()
}

/// How much longer a dispatch of a kernel takes than in the other run, in microseconds: of what both have, since a mask leaves
/// out some. The interval is over tokens; of a prefill, which has none, over its dispatches, in pairs.
pub(super) fn change(
    own: &Buckets<'_>,
    others: &Buckets<'_>,
    prefill: bool,
    kernel: [&str; 2],
) -> Option<Difference> {
    let (own, others) = (own.get(&kernel)?, others.get(&kernel)?);
    let shared = &labels(own) & &labels(others);
    let means = |dispatches: &[&Dispatch]| -> Vec<f64> {
        let mut sums: BTreeMap<(u32, &str), (f64, f64)> = BTreeMap::new();
        for dispatch in dispatches {
            if !shared.contains(dispatch.label.as_str()) {
                continue;
            }
            let label = if prefill { &*dispatch.label } else { "" };
            let (sum, count) = sums.entry((dispatch.token, label)).or_default();
            *sum += micros(dispatch.duration_nanos);
            *count += 1.0;
        }
        sums.values().map(|(sum, count)| sum / count).collect()
    };
    let (others, own) = (means(others), means(own));
    let change = if prefill {
        let pairs = others.iter().zip(&own);
        let longer: Vec<f64> = pairs.map(|(other, own)| own - other).collect();
        difference(&vec![0.0; longer.len()], &longer)
    } else {
        difference(&others, &own)
    };
    change.mean.is_finite().then_some(change)
}

/// The nanoseconds from each decoded token's first dispatch to its last, and how many of them lie between dispatches. A token is
/// one submission, in which all are placed by the GPU's clock; `None` of a trace where that is not so, and where dispatches
/// have no time.
pub(super) fn between(run: &Run) -> Option<(u64, u64)> {
    let decoded = run.submissions.iter().filter(|at| at.token > 0);
    if run.dropped_timestamps > 0 || !decoded.is_sorted_by(|a, b| a.token < b.token) {
        return None;
    }
    let tokens = run.dispatches.chunk_by(|a, b| a.token == b.token);
    let (mut whole, mut busy) = (0, 0);
    for token in tokens.filter(|token| token[0].token > 0) {
        let end = token.iter().map(spans::ended).max().unwrap_or(0);
        whole += end - token[0].start_nanos;
        busy += token.iter().map(|at| at.duration_nanos).sum::<u64>();
    }
    (whole > 0).then(|| (whole, whole.saturating_sub(busy)))
}
