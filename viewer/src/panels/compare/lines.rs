//! Two runs in numbers.

use super::super::runs::traced;
use super::super::{View, known, millis, policy_name, short, sublayers};
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
    let tpot = |_, run: &Run| {
        let nanos = run.tpot_nanos();
        nanos.map_or("-".to_owned(), |nanos| format!("{:.2} ms", millis(nanos)))
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
    let agreement = |index, _: &Run| {
        measured(index, &|found| {
            let percent = 100.0 * agreed(found);
            known(percent, format!("{percent:.0} % of tokens"))
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
    vec![
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
        row("TPOT, mean", &tpot, tpot_change),
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
    ]
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
