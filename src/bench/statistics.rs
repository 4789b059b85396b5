//! Means, medians and differences, and what may be concluded from them.

/// The middle value; the mean of the middle two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The smallest value that a share of the values does not exceed.
pub fn quantile(values: &[u64], share: f64) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// Mean and sample standard deviation.
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, f64)> {
    let count = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (squares / (count - 1.0).max(1.0)).sqrt()))
}

/// Relative change of `b` over `a`, paired by repetition: mean and half the width of its 95 % confidence
/// interval; `None` for fewer than two pairs.
pub fn change(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a - 1.0).collect();
    interval(&ratios)
}

/// Median of the relative changes of `b` over `a`, paired by repetition: what one slow turn does not move.
pub fn median_change(a: &[f64], b: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a - 1.0).collect();
    median(&ratios)
}

/// Mean difference `b - a` of pairs in no order, and half the width of its 95 % confidence interval.
pub fn paired_difference(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    student(&differences)
}

/// Mean of successive values, and half the width of its 95 % confidence interval, which is wider where values resemble
/// their neighbours.
fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let (mean, half) = student(values)?;
    Some((mean, half * correlation_time(values, mean).sqrt()))
}

/// Quantile of Student's t at 97.5 %, for intervals of 95 %; between whole degrees of freedom on the line from one to the
/// next, below one that of one.
pub fn student_quantile(freedom: f64) -> f64 {
    /// For 1 to 30 degrees of freedom.
    const T: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    // Beyond the table, the first term by which it nears the normal distribution's.
    let at = |whole: f64| {
        let known = T.get(whole as usize - 1).copied();
        known.unwrap_or(1.960 + 2.4 / whole)
    };
    let freedom = if freedom > 1.0 { freedom.min(1e6) } else { 1.0 };
    let (low, high) = (at(freedom.floor()), at(freedom.floor() + 1.0));
    low + (high - low) * freedom.fract()
}

/// Mean of independent values, and half the width of its 95 % confidence interval (Student's t).
fn student(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let (mean, deviation) = mean_and_deviation(values)?;
    let count = values.len() as f64;
    let t = student_quantile(count - 1.0);
    Some((mean, t * deviation / count.sqrt()))
}

/// How many successive values say as much about the mean as one independent value does: 1 and twice the sum of their
/// autocorrelations, taken by pairs of lags while those are above zero and no larger than the pair before (the
/// initial monotone sequence of Geyer, 1992, doi 10.1214/ss/1177011137). At least 1: an interval is never narrowed.
pub fn correlation_time(values: &[f64], mean: f64) -> f64 {
    let covariance = |lag: usize| -> f64 {
        let pairs = values.iter().zip(values.iter().skip(lag));
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let own = covariance(0);
    let mut sum = -own;
    let mut last = f64::INFINITY;
    for lag in (0..values.len().saturating_sub(1)).step_by(2) {
        last = last.min(covariance(lag) + covariance(lag + 1));
        if last <= 0.0 {
            break;
        }
        sum += 2.0 * last;
    }
    // Equal values have no covariance at all.
    if own > 0.0 { (sum / own).max(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn statistics_of_known_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(quantile(&[5, 1, 4, 2, 3], 0.5), Some(3));
        assert_eq!(quantile(&(1..=100).collect::<Vec<_>>(), 0.95), Some(95));
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), Some((2.0, 2.0f64.sqrt())));
        let (mean, half) = change(&[1.0, 2.0], &[1.5, 3.0]).expect("two pairs");
        assert!((mean - 0.5).abs() < 1e-12 && half.abs() < 1e-12);
        assert_eq!(change(&[1.0], &[2.0]), None);
        let median = median_change(&[1.0, 2.0, 4.0], &[1.5, 1.0, 4.0]);
        assert_eq!(median, Some(0.0));
        // In whatever order they come.
        let drifting = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5];
        let mixed = [1.3, 1.0, 1.5, 1.2, 1.4, 1.1];
        let halves = [drifting, mixed].map(|values| paired_difference(&[0.0; 6], &values));
        let [(_, drifting_half), (_, mixed_half)] = halves.map(|half| half.expect("six pairs"));
        assert!((drifting_half - mixed_half).abs() < 1e-12);
    }

    /// Of many series whose mean is known, about 95 % of the intervals hold it if values say nothing of each other,
    /// and nearly as many if neighbours correlate by one half, of which plain Student's t would hold three in four.
    #[test]
    fn intervals_hold_the_mean_of_series_that_drift() {
        const SERIES: usize = 2000;
        let held = |correlation: f64| {
            let mut random = Random(7);
            let mut normal = || f64::from(random.normal());
            let holds = |_: &usize| {
                let mut value = normal() / (1.0 - correlation * correlation).sqrt();
                let values: Vec<f64> = (0..40)
                    .map(|_| {
                        value = correlation * value + normal();
                        value
                    })
                    .collect();
                let (mean, half) = interval(&values).expect("forty values");
                mean.abs() <= half
            };
            (0..SERIES).filter(holds).count() as f64 / SERIES as f64
        };
        let (independent, correlated) = (held(0.0), held(0.5));
        assert!((0.94..0.97).contains(&independent), "{independent}");
        assert!((0.88..0.97).contains(&correlated), "{correlated}");
    }
}
