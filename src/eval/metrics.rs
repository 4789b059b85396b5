//! Scores of answers against references, each as the field computes it: `tests/metrics.rs` compares with the
//! Python packages that papers quote.
//!
//! A metric turns one answer into a few counts, adds the counts of all answers, and makes the score from the
//! sums. For BLEU and chrF that is their definition; it also lets a bootstrap draw answers again without
//! looking at the texts.

use std::collections::HashMap;

/// A score of answers, higher is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of answers whose last number is the reference's, in percent.
    LastNumber,
    /// Share of answers equal to the reference after SQuAD's normalisation, in percent.
    ExactMatch,
    /// Mean F1 of the words shared with the reference, as SQuAD computes it, in percent.
    F1,
    /// Mean F-measure of the longest common subsequence of words (`rouge-score` without stemming), in percent.
    RougeL,
    /// Corpus BLEU of 4-grams with sacrebleu's defaults: its `13a` tokens and exponential smoothing.
    Bleu,
    /// Corpus chrF of 6 characters with sacrebleu's defaults.
    Chrf,
}

/// Longest n-grams of BLEU, in tokens, and of chrF, in characters.
const BLEU_ORDER: usize = 4;
const CHRF_ORDER: usize = 6;

impl Metric {
    /// What a task of the project's data is scored by; none where no score of short answers makes sense.
    pub fn of_task(task: &str) -> &'static [Self] {
        match task {
            "math" => &[Self::LastNumber],
            "qa" => &[Self::ExactMatch, Self::F1],
            "summary" => &[Self::RougeL],
            "translation" => &[Self::Bleu, Self::Chrf],
            _ => &[],
        }
    }

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::LastNumber => "last number",
            Self::ExactMatch => "exact match",
            Self::F1 => "F1",
            Self::RougeL => "ROUGE-L",
            Self::Bleu => "BLEU",
            Self::Chrf => "chrF",
        }
    }

    /// The counts of one answer.
    pub fn counts(self, answer: &str, reference: &str) -> Vec<f64> {
        let share = |share: f64| vec![share, 1.0];
        match self {
            Self::LastNumber => share(f64::from(u8::from(
                last_number(answer).is_some_and(|found| last_number(reference) == Some(found)),
            ))),
            Self::ExactMatch => share(f64::from(u8::from(
                squad_words(answer) == squad_words(reference),
            ))),
            Self::F1 => share(f1(&squad_words(answer), &squad_words(reference))),
            Self::RougeL => share(rouge_l(answer, reference)),
            Self::Bleu => bleu_counts(answer, reference),
            Self::Chrf => chrf_counts(answer, reference),
        }
    }

    /// The score of summed counts, from 0 to 100.
    pub fn score(self, counts: &[f64]) -> f64 {
        match self {
            Self::Bleu => bleu(counts),
            Self::Chrf => chrf(counts),
            _ if counts[1] == 0.0 => 0.0,
            _ => 100.0 * counts[0] / counts[1],
        }
    }
}

/// The last number of a text, without its thousands' commas.
fn last_number(text: &str) -> Option<f64> {
    let chars: Vec<char> = text.chars().collect();
    let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let last = (0..chars.len()).rev().find(|at| digit(*at))?;
    let mut first = last;
    while first > 0
        && (digit(first - 1)
            || matches!(chars[first - 1], ',' | '.') && first > 1 && digit(first - 2))
    {
        first -= 1;
    }
    let mut number: String = chars[first..=last].iter().filter(|c| **c != ',').collect();
    // A sign, unless it subtracts from something.
    let alone = |at: usize| at == 0 || !(chars[at - 1].is_alphanumeric() || chars[at - 1] == ')');
    if first > 0 && chars[first - 1] == '-' && alone(first - 1) {
        number.insert(0, '-');
    }
    number.parse().ok()
}

/// SQuAD's normalisation: lower case, without punctuation and articles, split at spaces.
fn squad_words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let plain: String = lower
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    let mut words = String::new();
    let mut run = String::new();
    for c in plain.chars().map(Some).chain([None]) {
        match c {
            Some(c) if c.is_alphanumeric() => run.push(c),
            other => {
                if !matches!(run.as_str(), "a" | "an" | "the") {
                    words.push_str(&run);
                } else {
                    words.push(' ');
                }
                run.clear();
                words.extend(other);
            }
        }
    }
    words.split_whitespace().map(str::to_owned).collect()
}

fn counted<T: std::hash::Hash + Eq>(items: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
    }
    counts
}

/// How many items two bags share.
fn shared<T: std::hash::Hash + Eq>(a: &HashMap<T, usize>, b: &HashMap<T, usize>) -> usize {
    a.iter()
        .map(|(item, count)| count.min(b.get(item).unwrap_or(&0)))
        .sum()
}

fn harmonic(shared: usize, answer: usize, reference: usize) -> f64 {
    // 2 P R / (P + R) with P = shared / answer and R = shared / reference.
    2.0 * shared as f64 / (answer + reference) as f64
}

fn f1(answer: &[String], reference: &[String]) -> f64 {
    if answer.is_empty() || reference.is_empty() {
        return f64::from(u8::from(answer == reference));
    }
    let common = shared(&counted(answer), &counted(reference));
    harmonic(common, answer.len(), reference.len())
}

fn rouge_l(answer: &str, reference: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        text.to_lowercase()
            .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (answer, reference) = (words(answer), words(reference));
    if answer.is_empty() || reference.is_empty() {
        return 0.0;
    }
    // Lengths of the longest common subsequence of all that was read of one with a start of the other.
    let mut row = vec![0usize; answer.len() + 1];
    for word in &reference {
        let mut diagonal = 0;
        for (index, other) in answer.iter().enumerate() {
            let above = row[index + 1];
            row[index + 1] = if word == other {
                diagonal + 1
            } else {
                above.max(row[index])
            };
            diagonal = above;
        }
    }
    harmonic(row[answer.len()], answer.len(), reference.len())
}

/// Tokens as the WMT's script `mteval-v13a` makes them.
fn tokens_13a(text: &str) -> Vec<String> {
    let text = text
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    let text = [
        ("&quot;", "\""),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ]
    .into_iter()
    .fold(text, |text, (entity, sign)| text.replace(entity, sign));
    // All ASCII punctuation but the apostrophe, the comma, the dash and the full stop.
    let mut spaced: Vec<char> = vec![' '];
    for c in text.chars() {
        match c {
            '\'' | ',' | '-' | '.' => spaced.push(c),
            c if c.is_ascii_punctuation() => spaced.extend([' ', c, ' ']),
            c => spaced.push(c),
        }
    }
    spaced.push(' ');
    let point = |c: char| c == '.' || c == ',';
    let digit = |c: char| c.is_ascii_digit();
    let spaced = spread(
        &spaced,
        |a, b| !digit(a) && point(b),
        |a, b| [a, ' ', b, ' '],
    );
    let spaced = spread(
        &spaced,
        |a, b| point(a) && !digit(b),
        |a, b| [' ', a, ' ', b],
    );
    let spaced = spread(
        &spaced,
        |a, b| digit(a) && b == '-',
        |a, b| [a, ' ', b, ' '],
    );
    let text: String = spaced.into_iter().collect();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Replaces pairs of neighbours from the left, none of which overlap: what a regular expression of two
/// characters does.
fn spread(
    text: &[char],
    matches: impl Fn(char, char) -> bool,
    with: impl Fn(char, char) -> [char; 4],
) -> Vec<char> {
    let mut out = Vec::with_capacity(2 * text.len());
    let mut at = 0;
    while at < text.len() {
        match text.get(at + 1) {
            Some(next) if matches(text[at], *next) => {
                out.extend(with(text[at], *next));
                at += 2;
            }
            _ => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

/// Lengths of answer and reference, then of each order how many n-grams match and how many there are.
fn bleu_counts(answer: &str, reference: &str) -> Vec<f64> {
    let (answer, reference) = (tokens_13a(answer), tokens_13a(reference));
    let mut counts = vec![answer.len() as f64, reference.len() as f64];
    for order in 1..=BLEU_ORDER {
        let matched = shared(
            &counted(answer.windows(order)),
            &counted(reference.windows(order)),
        );
        counts.push(matched as f64);
        counts.push((answer.len() + 1).saturating_sub(order) as f64);
    }
    counts
}

fn bleu(counts: &[f64]) -> f64 {
    let (length, reference) = (counts[0], counts[1]);
    let orders = || counts[2..].chunks_exact(2);
    if orders().all(|order| order[0] == 0.0) {
        return 0.0;
    }
    let (mut logarithms, mut smooth) = (0.0, 1.0);
    for order in orders() {
        let [matched, all] = [order[0], order[1]];
        // No answer is as long as an n-gram of this order.
        if all == 0.0 {
            return 0.0;
        }
        let precision = if matched == 0.0 {
            smooth *= 2.0;
            1.0 / (smooth * all)
        } else {
            matched / all
        };
        logarithms += precision.ln();
    }
    let brevity = if length < reference {
        1.0 - reference / length
    } else {
        0.0
    };
    100.0 * (brevity + logarithms / BLEU_ORDER as f64).exp()
}

/// For each order: how many n-grams of characters the answer has, the reference has, and both have.
fn chrf_counts(answer: &str, reference: &str) -> Vec<f64> {
    let letters =
        |text: &str| -> Vec<char> { text.split_whitespace().flat_map(str::chars).collect() };
    let (answer, reference) = (letters(answer), letters(reference));
    let grams = |text: &[char], order: usize| (text.len() + 1).saturating_sub(order) as f64;
    let mut counts = Vec::new();
    for order in 1..=CHRF_ORDER {
        let matched = shared(
            &counted(answer.windows(order)),
            &counted(reference.windows(order)),
        );
        let references = grams(&reference, order);
        // Where the reference has none, the answer's do not count either.
        let answers = if references > 0.0 {
            grams(&answer, order)
        } else {
            0.0
        };
        counts.extend([answers, references, matched as f64]);
    }
    counts
}

fn chrf(counts: &[f64]) -> f64 {
    /// Recall counts twice as much as precision, squared.
    const BETA_SQUARED: f64 = 4.0;
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for order in counts
        .chunks_exact(3)
        .filter(|order| order[0] > 0.0 && order[1] > 0.0)
    {
        precision += order[2] / order[0];
        recall += order[2] / order[1];
        orders += 1.0;
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    100.0 * (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_found() {
        for (text, number) in [
            ("so 9 * 2 = $18 every day\n#### 18", Some(18.0)),
            ("It is 1,234,567.50.", Some(1_234_567.5)),
            ("from 3 to -4 degrees", Some(-4.0)),
            ("12-5", Some(5.0)),
            ("(2)-5", Some(5.0)),
            ("a list: 1, 2, 3, and no more.", Some(3.0)),
            ("version 1.2.3", None),
            ("60%", Some(60.0)),
            ("none", None),
            ("", None),
        ] {
            assert_eq!(last_number(text), number, "{text}");
        }
        let metric = Metric::LastNumber;
        assert_eq!(metric.counts("about 18.0 dollars", "#### 18"), [1.0, 1.0]);
        assert_eq!(metric.counts("about 19 dollars", "#### 18"), [0.0, 1.0]);
        assert_eq!(metric.counts("no number", "none either"), [0.0, 1.0]);
    }

    #[test]
    fn nothing_scores_nothing() {
        for metric in [
            Metric::RougeL,
            Metric::Bleu,
            Metric::Chrf,
            Metric::LastNumber,
        ] {
            for (answer, reference) in [("", "a word"), ("a word", ""), ("", "")] {
                let score = metric.score(&metric.counts(answer, reference));
                assert_eq!(score, 0.0, "{metric:?}");
            }
        }
    }
}
