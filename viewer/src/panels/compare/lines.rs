//! Two runs in numbers.

use super::super::runs::traced;
use super::super::{View, known, millis, policy_name, short, sublayers, tpot_text};
use crate::session::Agreement;
use crate::stats::{common_prefix, difference, mean};
use first_wgpu::mask::LayerMask;
use first_wgpu::trace::Run;

fn token_millis(run: &Run) -> Vec<f64> {
    run.token_nanos.iter().map(|nanos| millis(*nanos)).collect()
}

/// What is compared, of the other run, of this run, and what the difference is.
pub(super) fn lines(view: &View<'_>, a: &Run, b: &Run) -> Vec<[String; 4]> {
    let row = |name: &str, of: &dyn Fn(usize, &Run) -> String, about: String| {
        let (this, other) = (view.state.selected, view.state.other);
        [name.to_owned(), of(other, a), of(this, b), about]
    };
    let change = difference(&token_millis(a), &token_millis(b));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let same = common_prefix(&a.answer_ids, &b.answer_ids);
    let differs = if same == a.answer_ids.len().max(b.answer_ids.len()) {
        "the answers are equal".to_owned()
    } else {
        format!("first different token: {}", same + 1)
    };
    let measured = |index: usize, said: &dyn Fn(&Agreement) -> String| {
        let found = view.session.agreement(index);
        found.map_or("not measured".to_owned(), said)
    };
    let divergence = |index, run: &Run| {
        measured(index, &|found| {
            let kl = kl(found);
            known(kl, format!("{kl:.4} nats{}", part(found, run)))
        })
    };
    let agreement = |index, run: &Run| {
        measured(index, &|found| {
            let (percent, part) = (100.0 * agreed(found), part(found, run));
            known(percent, format!("{percent:.0} % of tokens{part}"))
        })
    };
    let level = if change.half.is_finite() {
        " (95 %, of these runs)"
    } else {
        ""
    };
    let tpot_change = format!("{}{level}", change.text(2, " ms"));
    let tpot_change = known(change.mean, tpot_change);
    let ttft = (b.ttft_nanos as f64 - a.ttft_nanos as f64) / 1e6;
    let more = mib(b.kv_bytes) - mib(a.kv_bytes);
    let mut lines = vec![
        row("run", &|index, _| (index + 1).to_string(), String::new()),
        row("prompt", &|_, run| short(&run.prompt, 32), String::new()),
        row(
            "policy",
            &|_, run| short(policy_name(run), 32),
            String::new(),
        ),
        row(
            "weights skipped",
            &|_, run| format!("{:.1} %", 100.0 * run.model.skip_rate(&run.mask)),
            apart(&a.mask, &b.mask),
        ),
        row(
            "tokens",
            &|_, run| run.answer_ids.len().to_string(),
            differs,
        ),
        row(
            "timed by dispatch",
            &|_, run| if traced(run) { "yes" } else { "no" }.to_owned(),
            if traced(a) == traced(b) {
                String::new()
            } else {
                "timing one alone makes it slower".to_owned()
            },
        ),
        row(
            "TTFT",
            &|_, run| format!("{:.0} ms", millis(run.ttft_nanos)),
            format!("{ttft:+.0} ms, one measurement each"),
        ),
        row("TPOT, mean", &|_, run| tpot_text(run), tpot_change),
        row(
            "KV cache",
            &|_, run| format!("{:.2} MiB", mib(run.kv_bytes)),
            format!("{more:+.2} MiB, counted"),
        ),
        row(
            "dispatches a token",
            &|_, run| run.decode_dispatches.to_string(),
            "counted".to_owned(),
        ),
        row(
            "KL from full model",
            &divergence,
            "mean over tokens, each given the run's own answer so far".to_owned(),
        ),
        row(
            "same likeliest token",
            &agreement,
            "as the full model; neither says whether an answer is good".to_owned(),
        ),
    ];
    if a.gpu != b.gpu {
        let about = "times are of different GPUs".to_owned();
        lines.insert(
            3,
            row("GPU", &|_, run| short(&gpu_name(run, [a, b]), 34), about),
        );
    }
    if a.model != b.model {
        let about = "all numbers are of different models".to_owned();
        let name = |_, run: &Run| short(&model_name(run, [a, b]), 34);
        lines.insert(3, row("model", &name, about));
    }
    lines
}

/// What tells the models of two runs apart.
fn model_name(run: &Run, [a, b]: [&Run; 2]) -> String {
    let model = &run.model;
    if a.model.name == b.model.name {
        format!("{} {}", model.file, model.name)
    } else {
        model.name.clone()
    }
}

/// What tells their GPUs apart.
fn gpu_name(run: &Run, [a, b]: [&Run; 2]) -> String {
    let gpu = &run.gpu;
    if a.gpu.name == b.gpu.name {
        format!("{} {} {}", gpu.backend, gpu.driver, gpu.name)
    } else {
        gpu.name.clone()
    }
}

/// How far two masks are apart. Of a mask that skips nothing, the distance from any other is 1.
fn apart(a: &LayerMask, b: &LayerMask) -> String {
    if a.layers() != b.layers() {
        return "masks of models of other depths".to_owned();
    }
    let all = sublayers(a);
    let differ = all.filter(|(layer, part)| a.runs(*layer, *part) != b.runs(*layer, *part));
    let (differ, all) = (differ.count(), 2 * a.layers());
    let mut text = format!("masks differ in {differ} of {all} sublayers");
    if !a.is_full() && !b.is_full() {
        text += &format!(", Jaccard distance {:.2}", a.distance(b));
    }
    text
}

/// How many of the answer's tokens were compared, where that is not all.
pub(super) fn part(agreement: &Agreement, run: &Run) -> String {
    let (some, all) = (agreement.kl.len(), run.answer_ids.len());
    if some < all {
        format!(" (first {some} of {all})")
    } else {
        String::new()
    }
}

/// Mean divergence from the full model, in nats.
fn kl(agreement: &Agreement) -> f64 {
    let values: Vec<f64> = agreement.kl.iter().map(|kl| f64::from(*kl)).collect();
    mean(&values)
}

/// The share of tokens at which both find the same token likeliest.
fn agreed(agreement: &Agreement) -> f64 {
    let count = agreement.agrees.iter().filter(|agrees| **agrees).count();
    count as f64 / agreement.agrees.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::super::State;
    use super::super::super::testing::view;
    use super::*;
    use crate::session::Session;

    #[test]
    fn a_part_of_an_answer_is_called_one() {
        let mut run = Session::demo().runs[0].clone();
        run.answer_ids = vec![1; 300];
        let said = |count| {
            let agreement = Agreement {
                kl: vec![0.0; count],
                ..Agreement::default()
            };
            part(&agreement, &run)
        };
        assert_eq!(said(128), " (first 128 of 300)");
        assert_eq!(said(300), "");
    }

    #[test]
    fn what_makes_two_runs_incomparable_is_said() {
        let mut session = Session::demo();
        session.runs.truncate(2);
        let named = |session: &Session| -> Vec<[String; 4]> {
            let state = State {
                selected: 1,
                ..State::default()
            };
            let lines = lines(&view(session, &state), &session.runs[0], &session.runs[1]);
            let own = lines.into_iter();
            own.filter(|line| ["model", "GPU"].contains(&line[0].as_str()))
                .collect()
        };
        assert!(named(&session).is_empty(), "they are alike");
        session.runs[1].model.name = "another".to_owned();
        session.runs[1].gpu.driver = "newer".to_owned();
        let said = named(&session);
        assert_eq!(said[0][0], "model");
        assert_eq!(said[0][2], "another");
        assert!(said[1][2].contains("newer"), "{said:?}");
    }

    #[test]
    fn both_measures_of_a_part_say_so() {
        let mut session = Session::demo();
        session.runs.truncate(1);
        session.runs[0].answer_ids = vec![1; 300];
        session.agreements = vec![Agreement {
            run: 0,
            kl: vec![0.5; 128],
            agrees: vec![true; 128],
        }];
        let state = State::default();
        let lines = lines(&view(&session, &state), &session.runs[0], &session.runs[0]);
        for name in ["KL from full model", "same likeliest token"] {
            let line = lines.iter().find(|line| line[0] == name).expect(name);
            assert!(line[2].ends_with("(first 128 of 300)"), "{line:?}");
        }
    }

    #[test]
    fn masks_are_told_apart_by_what_differs() {
        let mask = |text| LayerMask::parse(text, 12).expect("a mask");
        let said = |a, b| apart(&mask(a), &mask(b));
        assert_eq!(said("", "3,5.attn"), "masks differ in 3 of 24 sublayers");
        assert_eq!(
            said("3", "3.attn,7.attn"),
            "masks differ in 2 of 24 sublayers, Jaccard distance 0.67"
        );
        assert_eq!(said("", ""), "masks differ in 0 of 24 sublayers");
        let deeper = LayerMask::full(30);
        assert!(apart(&mask("3"), &deeper).contains("other depths"));
    }
}
