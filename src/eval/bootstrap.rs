//! Intervals by the bootstrap (Efron 1979): answers are drawn again, with replacement within each task, and
//! what is wanted is computed from every draw. All that is compared uses the same draws, so that differences
//! are paired by answer.

use crate::random::Random;
use std::collections::BTreeMap;

/// Draws: enough for two digits of a 95 % interval's ends.
const ROUNDS: usize = 4000;

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// From the answers as they are.
    pub value: f64,
    /// 2.5 % of the draws are below.
    pub low: f64,
    /// 2.5 % of the draws are above.
    pub high: f64,
}

/// Answers by task, and the draws of them.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    names: Vec<String>,
    tasks: Vec<Vec<usize>>,
    /// The answers drawn in each round, of each task.
    rounds: Vec<Vec<Vec<usize>>>,
}

impl Bootstrap {
    /// Draws for answers whose tasks these are; the same for the same seed.
    pub fn new(tasks: &[String], seed: u64) -> Self {
        let mut by_task: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, task) in tasks.iter().enumerate() {
            by_task.entry(task).or_default().push(index);
        }
        let names = by_task.keys().map(|name| (*name).to_owned()).collect();
        let tasks: Vec<Vec<usize>> = by_task.into_values().collect();
        let mut random = Random(seed);
        let mut draw = |answers: &Vec<usize>| {
            let mut one = || answers[random.below(answers.len())];
            (0..answers.len()).map(|_| one()).collect()
        };
        let rounds = (0..ROUNDS)
            .map(|_| tasks.iter().map(&mut draw).collect())
            .collect();
        Self {
            names,
            tasks,
            rounds,
        }
    }

    /// The tasks in order of their names, each with its answers.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let names = self.names.iter().map(String::as_str);
        names.zip(self.tasks.iter().map(Vec::as_slice))
    }

    /// A statistic of answers by task, and its interval.
    pub fn interval(&self, statistic: impl Fn(&[Vec<usize>]) -> f64) -> Interval {
        let mut values: Vec<f64> = self.rounds.iter().map(|round| statistic(round)).collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
        Interval {
            value: statistic(&self.tasks),
            low: at(0.025),
            high: at(0.975),
        }
    }

    /// The macro mean of a value of each answer, without its interval.
    pub fn mean_value(&self, values: &[f64]) -> f64 {
        macro_mean(&self.tasks, values)
    }

    /// The macro mean of a value of each answer: over the tasks' means.
    pub fn mean(&self, values: &[f64]) -> Interval {
        self.interval(|tasks| macro_mean(tasks, values))
    }

    /// By how much the macro mean of `values` is above that of `from`, as a share of the latter.
    pub fn change(&self, from: &[f64], values: &[f64]) -> Interval {
        self.interval(|tasks| macro_mean(tasks, values) / macro_mean(tasks, from) - 1.0)
    }

    /// By how much the macro mean of `values` is above that of `from`.
    pub fn difference(&self, from: &[f64], values: &[f64]) -> Interval {
        let differences: Vec<f64> = from.iter().zip(values).map(|(a, b)| b - a).collect();
        self.mean(&differences)
    }
}

/// The mean over tasks of the means over their answers.
pub fn macro_mean(tasks: &[Vec<usize>], values: &[f64]) -> f64 {
    let mean = |answers: &Vec<usize>| {
        answers.iter().map(|index| values[*index]).sum::<f64>() / answers.len() as f64
    };
    tasks.iter().map(mean).sum::<f64>() / tasks.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nearly normal with mean 0 and variance 1: the sum of twelve uniform numbers, less six.
    fn normal(random: &mut Random) -> f64 {
        let mut uniform = || random.next() as f64 / u64::MAX as f64;
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    fn tasks(answers: usize) -> Vec<String> {
        (0..answers)
            .map(|index| format!("task {}", index % 3))
            .collect()
    }

    /// Of many experiments whose true difference is known, about 95 % of the intervals hold it.
    #[test]
    fn intervals_cover_the_truth() {
        const TRUTH: f64 = 0.05;
        let (tasks, mut random) = (tasks(120), Random(1));
        let bootstrap = Bootstrap::new(&tasks, 7);
        let (mut covered, mut unpaired, experiments) = (0, 0.0, 300);
        for _ in 0..experiments {
            // Answers differ much more from one another than two policies do on the same answer.
            let from: Vec<f64> = (0..120)
                .map(|index| (index % 3) as f64 + normal(&mut random))
                .collect();
            let values: Vec<f64> = from
                .iter()
                .map(|x| x + TRUTH + 0.1 * normal(&mut random))
                .collect();
            let interval = bootstrap.difference(&from, &values);
            assert!(interval.low <= interval.value && interval.value <= interval.high);
            covered += usize::from(interval.low <= TRUTH && TRUTH <= interval.high);
            let alone = bootstrap.mean(&values);
            unpaired += (alone.high - alone.low) / (interval.high - interval.low);
        }
        let share = covered as f64 / experiments as f64;
        assert!((0.91..=0.98).contains(&share), "{share}");
        assert!(
            unpaired / experiments as f64 > 5.0,
            "pairing narrows: {unpaired}"
        );
    }

    #[test]
    fn a_task_counts_once_however_many_answers_it_has() {
        let tasks = ["few", "many", "many", "many"].map(str::to_owned);
        let bootstrap = Bootstrap::new(&tasks, 1);
        let interval = bootstrap.mean(&[4.0, 1.0, 1.0, 1.0]);
        assert_eq!(
            (interval.value, interval.low, interval.high),
            (2.5, 2.5, 2.5)
        );
        let change = bootstrap.change(&[4.0, 1.0, 1.0, 1.0], &[4.0, 2.0, 2.0, 2.0]);
        assert!((change.value - 0.2).abs() < 1e-12, "{change:?}");
    }

    #[test]
    fn draws_are_the_same_for_the_same_seed() {
        let tasks = tasks(30);
        let values: Vec<f64> = (0..30).map(f64::from).collect();
        let interval = |seed| Bootstrap::new(&tasks, seed).mean(&values);
        assert_eq!(interval(3), interval(3));
        assert_ne!(interval(3), interval(4));
    }
}
