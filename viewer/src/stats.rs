//! The few statistics that the panels show. Plain functions of slices.

use first_wgpu::bench::statistics::{correlation_time, student_quantile};
use first_wgpu::mask::{LayerMask, Sublayer};
use std::collections::BTreeMap;

/// The standard normal's 97.5 % point, for intervals of shares.
pub const Z95: f64 = 1.959_964;

/// Wilson's 95 % interval of a share, `(low, high)`; `(0, 1)` where nothing was counted. Unlike the
/// normal approximation it stays inside 0 to 1 and is honest for few prompts.
pub fn wilson(hits: usize, count: usize) -> (f64, f64) {
    if count == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (count as f64, hits as f64 / count as f64);
    let z2 = Z95 * Z95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// What a mask skips, a bit a sublayer.
fn skipped_bits(mask: &LayerMask) -> Vec<u64> {
    let mut bits = vec![0; (2 * mask.layers()).div_ceil(64)];
    for layer in 0..mask.layers() {
        for sublayer in Sublayer::BOTH {
            let place = 2 * layer + sublayer as usize;
            bits[place / 64] |= u64::from(!mask.runs(layer, sublayer)) << (place % 64);
        }
    }
    bits
}

/// [`LayerMask::distance`], of millions of pairs.
fn distance(a: &[u64], b: &[u64]) -> f64 {
    let (mut both, mut any) = (0, 0);
    for index in 0..a.len().max(b.len()) {
        let word = |bits: &[u64]| bits.get(index).copied().unwrap_or(0);
        both += (word(a) & word(b)).count_ones();
        any += (word(a) | word(b)).count_ones();
    }
    match any {
        0 => 0.0,
        _ => 1.0 - f64::from(both) / f64::from(any),
    }
}

/// Mean Jaccard distances between tags, and within each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TagDistances {
    /// The tags, sorted.
    pub names: Vec<String>,
    /// Mean over all pairs of different runs; `None` where there are none.
    pub mean: Vec<Vec<Option<f64>>>,
}

/// Compares the masks of every pair of tags. Equal masks of a tag are counted, not compared anew: routers
/// give thousands of prompts a few masks.
pub fn tag_distances(masks: &[(&str, &LayerMask)]) -> TagDistances {
    let mut tags: BTreeMap<&str, BTreeMap<Vec<u64>, f64>> = BTreeMap::new();
    for (tag, mask) in masks {
        let bits = tags.entry(tag).or_default().entry(skipped_bits(mask));
        *bits.or_default() += 1.0;
    }
    let mean = |a: &BTreeMap<Vec<u64>, f64>, b: &BTreeMap<Vec<u64>, f64>, same: bool| {
        let total = |tag: &BTreeMap<Vec<u64>, f64>| tag.values().sum::<f64>();
        // A run is not compared with itself.
        let pairs = total(a) * (total(b) - if same { 1.0 } else { 0.0 });
        let pair = |(a, n): (&Vec<u64>, &f64)| {
            let others = b.iter().map(|(b, m)| n * m * distance(a, b));
            others.sum::<f64>()
        };
        (pairs > 0.0).then(|| a.iter().map(pair).sum::<f64>() / pairs)
    };
    let row = |(x, a): (usize, &BTreeMap<Vec<u64>, f64>)| {
        let cells = tags.values().enumerate();
        cells.map(|(y, b)| mean(a, b, x == y)).collect()
    };
    TagDistances {
        names: tags.keys().map(|tag| (*tag).to_owned()).collect(),
        mean: tags.values().enumerate().map(row).collect(),
    }
}

/// The mean; NaN of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Difference of two means `b - a` with its 95 % interval (Welch).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The mean of `b` less the mean of `a`.
    pub mean: f64,
    /// Half the width of the interval; not finite where a side has fewer than two values.
    pub half: f64,
}

impl Difference {
    /// With its sign, so many digits and a unit; without an interval where a side has fewer than two values,
    /// and `-` where one has none.
    pub fn text(&self, digits: usize, unit: &str) -> String {
        let Self { mean, half } = self;
        match (mean.is_finite(), half.is_finite()) {
            (false, _) => "-".to_owned(),
            (true, false) => format!("{mean:+.digits$}{unit}"),
            (true, true) => format!("{mean:+.digits$}{unit} ± {half:.digits$}"),
        }
    }

    /// In another unit, of which this many are one of this.
    pub fn scaled(&self, by: f64) -> Self {
        Self {
            mean: by * self.mean,
            half: by * self.half,
        }
    }
}

/// Compares the means of two samples of successive values, whose variances may differ: few values have wide intervals, and so
/// have values that resemble their neighbours.
pub fn difference(a: &[f64], b: &[f64]) -> Difference {
    let error = |values| squared_error(values) * correlation_time(values, mean(values));
    let (x, y) = (error(a), error(b));
    let part = |error: f64, values: &[f64]| error * error / (values.len() as f64 - 1.0);
    // Of values that are all equal there is none, and the interval has no width.
    let freedom = (x + y).powi(2) / (part(x, a) + part(y, b));
    Difference {
        mean: mean(b) - mean(a),
        half: student_quantile(freedom) * (x + y).sqrt(),
    }
}

/// The square of the standard error of a mean; NaN of fewer than two values.
fn squared_error(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let (count, centre) = (values.len() as f64, mean(values));
    let squares = values.iter().map(|value| (value - centre).powi(2));
    squares.sum::<f64>() / (count - 1.0) / count
}

/// Counts of values in `bins` equal steps from the smallest to the largest.
pub fn histogram(sorted: &[f64], bins: usize) -> Vec<usize> {
    let mut counts = vec![0; bins.max(1)];
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return counts;
    };
    let width = (last - first).max(f64::MIN_POSITIVE);
    for value in sorted {
        let bin = ((value - first) / width * counts.len() as f64) as usize;
        let bin = bin.min(counts.len() - 1);
        counts[bin] += 1;
    }
    counts
}

/// How many leading elements two answers share.
pub fn common_prefix<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_is_wide_for_few_and_inside_the_unit() {
        let (low, high) = wilson(0, 3);
        assert!(low < 1e-12 && (high - 0.5615).abs() < 1e-3, "{high}");
        let (low, high) = wilson(50, 100);
        assert!((low - 0.4038).abs() < 1e-3 && (high - 0.5962).abs() < 1e-3);
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn distances_are_those_of_masks() {
        let masks = ["", "3", "4", "3.attn", "1-3,7.mlp"]
            .map(|text| LayerMask::parse(text, 40).expect("valid"));
        for (a, b) in masks.iter().flat_map(|a| masks.iter().map(move |b| (a, b))) {
            assert_eq!(distance(&skipped_bits(a), &skipped_bits(b)), a.distance(b));
        }
    }

    #[test]
    fn distances_between_tags_are_means_over_pairs() {
        let mask = |text| LayerMask::parse(text, 40).expect("a mask");
        let masks = [mask("3"), mask("3"), mask("4"), mask("39.mlp")];
        let tagged = [
            ("a", &masks[0]),
            ("a", &masks[1]),
            ("a", &masks[2]),
            ("b", &masks[3]),
        ];
        let distances = tag_distances(&tagged);
        assert_eq!(distances.names, ["a", "b"]);
        // Of the three pairs within `a`, one is of equal masks.
        assert!((distances.mean[0][0].expect("pairs") - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(distances.mean[0][1], Some(1.0));
        assert_eq!(distances.mean[1][1], None);
    }

    #[test]
    fn histograms_and_prefixes() {
        assert_eq!(histogram(&[1.0, 2.0, 3.0, 4.0], 2), [2, 2]);
        assert_eq!(histogram(&[5.0, 5.0], 3).iter().sum::<usize>(), 2);
        assert_eq!(common_prefix(&[1, 2, 3], &[1, 2, 4]), 2);
    }

    #[test]
    fn few_values_have_wide_intervals() {
        // Two values each, of equal variance: 2 degrees of freedom, 4.303 standard errors.
        let two = difference(&[1.0, 3.0], &[2.0, 4.0]);
        assert!((two.mean - 1.0).abs() < 1e-12);
        assert!((two.half - 4.303 * 2f64.sqrt()).abs() < 1e-9, "{two:?}");
        // One sample hardly varies: nearly the other's 3 - 1 degrees of freedom alone.
        let uneven = difference(&[1.0, 1.001, 1.002], &[0.0, 5.0, 10.0]);
        assert!((uneven.half - 4.303 * 5.0 / 3f64.sqrt()).abs() < 1e-2);
        let many: Vec<f64> = (0..1000).map(|value| f64::from(value % 2)).collect();
        let large = difference(&many, &many);
        assert!((large.half / (2.0 * 0.25 / 1000f64).sqrt() - Z95).abs() < 3e-3);
    }

    #[test]
    fn values_that_resemble_their_neighbours_have_wide_intervals() {
        let slow: Vec<f64> = (0..60).map(|index| f64::from(index / 20)).collect();
        let quick: Vec<f64> = (0..60).map(|index| f64::from(index % 3)).collect();
        let [slow, quick] = [slow, quick].map(|values| difference(&values, &[1.0; 60]));
        assert_eq!(slow.mean, quick.mean);
        assert!(slow.half > 3.0 * quick.half, "{slow:?}, {quick:?}");
    }

    #[test]
    fn a_difference_of_one_value_has_no_interval() {
        let one = difference(&[1.0], &[2.0]);
        assert!(one.half.is_nan());
        assert_eq!(one.text(1, " ms"), "+1.0 ms");
        assert_eq!(difference(&[], &[2.0]).text(1, " ms"), "-");
        let two = difference(&[1.0, 1.0], &[0.5, 0.5]).scaled(1e3);
        assert_eq!(two.text(1, ""), "-500.0 ± 0.0");
        assert_eq!(
            difference(&[1.0, 1.0], &[2.0, 2.0]),
            Difference {
                mean: 1.0,
                half: 0.0
            }
        );
    }
}
