//! The few statistics that the panels show. Plain functions of slices.

use first_wgpu::mask::{LayerMask, Sublayer};

/// The standard normal's 97.5 % point: intervals here are 95 % intervals.
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

/// Jaccard distance of what two masks skip: 0 for the same sublayers, 1 for none in common.
pub fn jaccard(a: &LayerMask, b: &LayerMask) -> f64 {
    let (mut both, mut any) = (0usize, 0usize);
    for layer in 0..a.layers().max(b.layers()) {
        for sublayer in Sublayer::BOTH {
            let skips = |mask: &LayerMask| layer < mask.layers() && !mask.runs(layer, sublayer);
            both += usize::from(skips(a) && skips(b));
            any += usize::from(skips(a) || skips(b));
        }
    }
    if any == 0 {
        0.0
    } else {
        1.0 - both as f64 / any as f64
    }
}

/// The value at share `q` of sorted values, between neighbours where it falls there; NaN of none.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

/// The values in rising order, without those that are not finite.
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values
        .into_iter()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The mean; NaN of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Difference of two means `b - a` with its 95 % interval (Welch, normal quantile).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The mean of `b` less the mean of `a`.
    pub mean: f64,
    /// Half the width of the interval; not finite where a side has fewer than two values.
    pub half: f64,
}

/// Compares the means of two samples.
pub fn difference(a: &[f64], b: &[f64]) -> Difference {
    let variance = |values: &[f64]| {
        let centre = mean(values);
        values
            .iter()
            .map(|value| (value - centre).powi(2))
            .sum::<f64>()
            / (values.len() as f64 - 1.0)
    };
    let error = |values: &[f64]| {
        if values.len() < 2 {
            f64::NAN
        } else {
            variance(values) / values.len() as f64
        }
    };
    Difference {
        mean: mean(b) - mean(a),
        half: Z95 * (error(a) + error(b)).sqrt(),
    }
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
    fn jaccard_counts_sublayers() {
        let mask = |text| LayerMask::parse(text, 30).expect("a mask");
        assert_eq!(jaccard(&mask("3"), &mask("3")), 0.0);
        assert_eq!(jaccard(&mask("3"), &mask("4")), 1.0);
        assert_eq!(jaccard(&mask("3"), &mask("3.attn")), 0.5);
        assert_eq!(jaccard(&mask(""), &mask("")), 0.0);
    }

    #[test]
    fn quantiles_and_histograms() {
        let values = sorted([4.0, 1.0, f64::NAN, 3.0, 2.0]);
        assert_eq!((quantile(&values, 0.5), quantile(&values, 1.0)), (2.5, 4.0));
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(histogram(&values, 2), [2, 2]);
        assert_eq!(histogram(&[5.0, 5.0], 3).iter().sum::<usize>(), 2);
        assert_eq!(common_prefix(&[1, 2, 3], &[1, 2, 4]), 2);
    }

    #[test]
    fn a_difference_of_one_value_has_no_interval() {
        assert!(difference(&[1.0], &[2.0]).half.is_nan());
        assert_eq!(
            difference(&[1.0, 1.0], &[2.0, 2.0]),
            Difference {
                mean: 1.0,
                half: 0.0
            }
        );
    }
}
