//! Metrics against `sacrebleu`, `rouge-score` and SQuAD's script, whose scores `scripts/make-metric-cases.py`
//! writes to `tests/golden/metrics.json`.

use first_wgpu::eval::metrics::Metric;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/metrics.json")).expect("the file is JSON")
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().expect("a text")
}

fn assert_close(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().expect("a number");
    // Both compute in f64; only the order of a few sums differs.
    assert!(
        (found - expected).abs() < 1e-9,
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn every_case_scores_as_the_packages_say() {
    for case in golden()["cases"].as_array().expect("a list") {
        let (answer, reference) = (text(case, "answer"), text(case, "reference"));
        for (metric, key) in [
            (Metric::ExactMatch, "exact-match"),
            (Metric::F1, "f1"),
            (Metric::RougeL, "rouge-l"),
            (Metric::Bleu, "bleu"),
            (Metric::Chrf, "chrf"),
        ] {
            let score = metric.score(&metric.counts(answer, reference));
            assert_close(
                score,
                &case[key],
                &format!("{key} of `{answer}` for `{reference}`"),
            );
        }
    }
}

/// BLEU and chrF of many answers are not means of the answers' own.
#[test]
fn a_corpus_scores_by_summed_counts() {
    let golden = golden();
    for (metric, key) in [(Metric::Bleu, "bleu"), (Metric::Chrf, "chrf")] {
        let mut sum = Vec::new();
        for case in golden["cases"].as_array().expect("a list") {
            let counts = metric.counts(text(case, "answer"), text(case, "reference"));
            sum.resize(counts.len(), 0.0);
            sum.iter_mut()
                .zip(counts)
                .for_each(|(sum, count)| *sum += count);
        }
        assert_close(metric.score(&sum), &golden["corpus"][key], key);
    }
}
