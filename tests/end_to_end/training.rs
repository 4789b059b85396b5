//! Routers from target masks, and what skipping costs.

use super::{LAYERS, PROMPT, mean, with_engine};
use first_wgpu::calibrate::meter::Against;
use first_wgpu::calibrate::{Budget, Unit};
use first_wgpu::data::Tokens;
use first_wgpu::journal::{Journal, Subject};
use first_wgpu::mask::{LayerMask, Masking, PrefillReading, Sublayer};
use first_wgpu::reference::{cross_entropy::cross_entropy, softmax::softmax};
use first_wgpu::router::Granularity;
use first_wgpu::train::{self, Search};
use std::ops::ControlFlow;

/// A loss as a journal keeps it.
fn noted(loss: f64) -> f64 {
    f64::from(loss as f32)
}

/// Routers fitted to a mask each for two prompts give each its own, on the path that the masks make; and a
/// search finds the mask that costs least.
pub(super) fn trained() {
    with_engine(|engine| {
        let prompts = [PROMPT, "an the on user 0123456789"];
        let ids = prompts.map(|prompt| engine.prompt_ids(prompt, true).expect("valid"));
        let masks = ["1.attn,2.mlp", "0.mlp,3"]
            .map(|mask| LayerMask::parse(mask, LAYERS).expect("a valid mask"));
        let examples: Vec<_> = ids
            .iter()
            .zip(&masks)
            .map(|(ids, mask)| (train::features(engine, ids, mask).expect("runs"), mask))
            .collect();
        let router = train::fit_routers(&examples, Granularity::Sublayer, 1e-5);
        engine.set_router(&router).expect("fits");
        for (ids, mask) in ids.iter().zip(&masks) {
            let (found, _) = engine.route(ids, &router.decision()).expect("runs");
            assert_eq!(&found, mask);
        }
        let tokens = vec![Tokens {
            answer: ids[0].len() / 2,
            ids: ids[0].clone(),
        }];
        let units = Unit::all(LAYERS, true);
        let progress = |_: u64, _: u64| ControlFlow::Continue(());
        let budget = Budget {
            units: 1,
            rate: 1.0,
            loss: f64::INFINITY,
            candidates: units.len(),
        };
        let search = |budget| Search {
            units: &units,
            budget,
            against: Against::Answers,
            prefill: PrefillReading::Masked,
            adapter: "",
        };
        let path = |budget| {
            let journal = &mut Journal::default();
            train::target_path(engine, &tokens, search(budget), journal, &mut { progress })
                .expect("searches")
        };
        let measured = |mask: &LayerMask| {
            let losses = engine.losses(&tokens[0].ids, tokens[0].answer, &mask.clone().into());
            noted(mean(&losses.expect("runs")))
        };
        let full = LayerMask::full(LAYERS);
        let cost = |unit: &Unit| {
            let mask = unit.skipped_from(&full);
            (measured(&mask) - measured(&full)) / engine.summary.skip_rate(&mask)
        };
        let least = |a: &&Unit, b: &&Unit| cost(a).total_cmp(&cost(b));
        let cheapest = units.iter().min_by(least).expect("some");
        let first = [full.clone(), cheapest.skipped_from(&full)].map(|mask| {
            let loss = measured(&mask);
            (mask, loss)
        });
        assert_eq!(path(budget), first);
        // Further on, where every mask is measured from where it leaves the one before, to the same bits.
        let far = Budget { units: 4, ..budget };
        let path = path(far);
        assert_eq!(path[..2], first);
        assert_eq!(path.len(), 5);
        for (mask, loss) in &path {
            assert_eq!(*loss, measured(mask), "{mask}");
        }
        // Broken off after each seven measurements, it comes to the same, and nothing is measured twice.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("journal.jsonl");
        let lines = || std::fs::read_to_string(&file).map_or(1, |text| text.lines().count());
        let broken_off = std::iter::repeat_with(|| {
            let mut journal = Journal::open(&file, Subject::default()).expect("opens");
            let mut progress = |done: u64, _: u64| match done {
                7 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
            let before = lines();
            let found =
                train::target_path(engine, &tokens, search(far), &mut journal, &mut progress);
            assert!(found.is_ok() || lines() == before + 6, "{found:?}");
            found.ok()
        });
        let found = broken_off.flatten().next().expect("it ends");
        assert_eq!(found, path);
        let text = std::fs::read_to_string(&file).expect("was written");
        let mut results: Vec<&str> = text.lines().collect();
        results.sort_unstable();
        results.dedup();
        assert_eq!(results.len(), lines());
        // Other examples have results of their own.
        let others = vec![Tokens {
            answer: ids[1].len() / 2,
            ids: ids[1].clone(),
        }];
        let mut journal = Journal::open(&file, Subject::default()).expect("opens");
        let path = train::target_path(engine, &others, search(budget), &mut journal, &mut {
            progress
        });
        let alone = engine.losses(&others[0].ids, others[0].answer, &full.clone().into());
        let alone = noted(mean(&alone.expect("runs")));
        assert_eq!(path.expect("searches")[0].1, alone);
    });
}

/// What a mask costs without regard to the answers is the cross-entropy with what the full model says, token by token;
/// nothing costs less than skipping nothing.
pub(super) fn against_the_full_model() {
    with_engine(|engine| {
        let ids = engine.prompt_ids(PROMPT, true).expect("valid");
        let vocab = engine.model.config.vocab;
        let full = LayerMask::full(LAYERS);
        let logits = |first: usize, masking: &Masking| {
            let mut logits = Vec::new();
            let (before, forced) = (&ids[..first], &ids[first..ids.len() - 1]);
            let mut keep = |_: usize, token: &[f32]| {
                logits.extend_from_slice(token);
                Ok(())
            };
            let done = engine.forced_logits(before, masking, forced, &mut keep);
            done.expect("runs");
            logits
        };
        // Behind an odd and an even number of tokens, which the mask concerns or not.
        let [masked, whole] = [PrefillReading::Masked, PrefillReading::Full];
        for (first, reading) in [(6, masked), (7, masked), (6, whole), (7, whole)] {
            let read = if reading == whole { first } else { 0 };
            let way = engine.full_way(&ids, read, 3).expect("runs");
            let of = |first: usize, mask: &LayerMask| {
                let losses = engine.losses_beside(&way, Some(&way), first, mask);
                losses.expect("runs")
            };
            let said = softmax(&logits(first, &Masking::new(full.clone(), reading)), vocab);
            let least = of(first, &full);
            // The last goes on where the full model enters layer 3.
            for skipped in ["1.attn,2.mlp", "0.mlp,3", "3.mlp"] {
                let mask = LayerMask::parse(skipped, LAYERS).expect("valid");
                // From where it leaves the full model, and from where it leaves a mask that skips something else.
                let other = LayerMask::parse("1.attn,3.attn", LAYERS).expect("valid");
                let other = engine.way_beside(&way, &other, 1).expect("runs");
                let masking = Masking::new(mask.clone(), reading);
                let alone = engine.losses(&ids, first, &masking).expect("runs");
                for way in [&way, &other] {
                    let beside = engine.losses_beside(way, None, first, &mask);
                    assert_eq!(alone, beside.expect("runs"));
                }
                let found = of(first, &mask);
                let decoded = logits(first, &masking);
                for (found, expected) in
                    (alone.iter()).zip(cross_entropy(&decoded, &ids[first..], (0.0, &[])))
                {
                    assert!((found - expected).abs() < 1e-5 * (1.0 + expected));
                }
                let taught = (1.0, said.as_slice());
                let expected = cross_entropy(&decoded, &ids[first..], taught);
                assert_eq!(found.len(), expected.len());
                for ((found, expected), least) in found.iter().zip(&expected).zip(&least) {
                    let allowed = 1e-5 * (1.0 + expected);
                    assert!(
                        (found - expected).abs() < allowed,
                        "{found}, not {expected}"
                    );
                    assert!(found + allowed > *least, "{found}, below {least}");
                }
                assert!(mean(&found) > mean(&least));
            }
        }
        // An answer of one token follows what every layer has read.
        let last = ids.len() - 1;
        let way = engine.full_way(&ids, last, 3).expect("runs");
        let mask = LayerMask::parse("1.attn,2.mlp", LAYERS).expect("valid");
        let beside = engine.way_beside(&way, &mask, 3).expect("runs");
        let found = engine.losses_beside(&beside, None, last, &mask);
        let expected = engine
            .losses(&ids, last, &Masking::new(full.clone(), masked))
            .expect("runs");
        assert_eq!(found.expect("runs"), expected);
        let example = Tokens {
            answer: 6,
            ids: ids.clone(),
        };
        let mut progress = |_: u64, _: u64| ControlFlow::Continue(());
        let units = [Unit {
            layer: 1,
            sublayer: Some(Sublayer::Attn),
        }];
        let budget = Budget {
            units: 1,
            rate: 1.0,
            loss: f64::INFINITY,
            candidates: 1,
        };
        // What was measured of one reading is not taken for the other.
        let journal = &mut Journal::default();
        for (reading, read) in [(masked, 0), (whole, 6)] {
            let search = Search {
                units: &units,
                budget,
                against: Against::Model,
                prefill: reading,
                adapter: "",
            };
            let texts = std::slice::from_ref(&example);
            let path = train::target_path(engine, texts, search, journal, &mut progress);
            let way = engine.full_way(&ids, read, 3).expect("runs");
            let mask = units[0].skipped_from(&full);
            let expected = [full.clone(), mask].map(|mask| {
                let losses = engine.losses_beside(&way, Some(&way), 6, &mask);
                (mask, noted(mean(&losses.expect("runs"))))
            });
            assert_eq!(path.expect("searches"), expected);
        }
    });
}
