//! LoRA adapters in the engine, both ways in which they are applied.

use super::{LAYERS, PROMPT, agrees, fixed, generate, gradients, request};
use first_wgpu::adapter::{LoraAdapter, Target};
use first_wgpu::bench::{self, BenchPlan, Candidate};
use first_wgpu::check;
use first_wgpu::engine::{AdapterMode, Engine, Request};
use first_wgpu::mask::{LayerMask, Masking, PrefillReading};
use first_wgpu::model::tiny::TinyOptions;
use first_wgpu::reference::cross_entropy::cross_entropy;
use first_wgpu::trace::Detail;
use first_wgpu::train::trainer::LoraOptions;
use first_wgpu::weights::Format;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A folder in PEFT's format, and what an independent implementation makes of the tiny model with it.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lora")
}

fn load(options: &TinyOptions, mode: AdapterMode) -> Engine {
    super::load(options, Some((folder(), mode)))
}

/// Residual streams, logits and greedy tokens, of prefill and decode, of whole and masked models.
pub(super) fn goldens() {
    for mode in [AdapterMode::RunTime, AdapterMode::Merged] {
        agrees(&load(&TinyOptions::default(), mode), &folder());
    }
}

/// On quantised weights both ways give the same, though one decodes them as it goes and the other once.
pub(super) fn modes_agree() {
    for (format, finer) in [
        (Format::Q4_1, None),
        (Format::Q8_0, None),
        (Format::Q5K, None),
        // As files that are called Q4_K_M have it.
        (Format::Q4K, Some(Format::Q6K)),
    ] {
        // Rows are whole blocks.
        let options = TinyOptions {
            format,
            finer,
            hidden: format.block_len().max(64),
            feed_forward: format.block_len().max(96),
            ..TinyOptions::default()
        };
        let saved = tempfile::tempdir().expect("a temporary folder");
        let mut plain = super::load(&options, None);
        assert_eq!(plain.model.mixed_bytes(), 0);
        // A dispatch more in each layer for rows of another format.
        let asked = request(&plain, PROMPT, fixed(""));
        let dispatches = generate(&mut plain, &asked).decode_dispatches as usize;
        let of_layer = 5 + usize::from(finer.is_some());
        assert_eq!(dispatches, 3 + of_layer * LAYERS);
        let lora = LoraOptions {
            rank: 4,
            alpha: 8.0,
            targets: Target::ALL.to_vec(),
        };
        let adapter = gradients::adapter(&plain, &lora, 0.1);
        let written = adapter.save(saved.path(), &plain.model.config);
        written.expect("written");
        let mut losses = Vec::new();
        for mode in [AdapterMode::RunTime, AdapterMode::Merged] {
            let engine = super::load(&options, Some((saved.path().to_owned(), mode)));
            let ids = engine.prompt_ids(PROMPT, true).expect("valid");
            let mask = LayerMask::parse("2.attn", LAYERS).expect("valid");
            losses.push(engine.losses(&ids, 1, &mask.into()).expect("runs"));
        }
        let [beside, merged] = [&losses[0], &losses[1]];
        let largest = merged.iter().fold(0f32, |most, loss| most.max(*loss));
        for (a, b) in beside.iter().zip(merged) {
            assert!((a - b).abs() <= 1e-5 * largest, "{format}: {a} and {b}");
        }
    }
}

/// The two paths share no kernel of the adapter: a token that is decoded has the logits of one that is prefilled,
/// whatever runs before and after it, with adapters of some matrices and of a rank that is summed in another way, put
/// one in the place of the other.
pub(super) fn decode_equals_prefill() {
    for format in [Format::F32, Format::Q4_1] {
        let options = TinyOptions {
            format,
            ..TinyOptions::default()
        };
        let mut engine = load(&options, AdapterMode::RunTime);
        same_logits(&engine);
        for (rank, targets) in [
            (3, &[Target::QProj, Target::DownProj][..]),
            (20, &Target::ALL),
            (4, &[Target::OProj, Target::UpProj]),
        ] {
            let options = LoraOptions {
                rank,
                alpha: rank as f32,
                targets: targets.to_vec(),
            };
            let adapter = gradients::adapter(&engine, &options, 0.2);
            engine.set_adapter(Some(&adapter)).expect("fits");
            same_logits(&engine);
        }
    }
}

fn same_logits(engine: &Engine) {
    let ids = engine.prompt_ids(PROMPT, true).expect("valid");
    let (prompt, forced) = ids.split_at(ids.len() - 3);
    for mask in ["", "0.attn,2.mlp", "1", "0,1,3"] {
        let mask = LayerMask::parse(mask, LAYERS).expect("valid");
        let mut decoded = Vec::new();
        let mut keep = |_, logits: &[f32]| {
            decoded.push(logits.to_vec());
            Ok(())
        };
        let masking = Masking::from(mask.clone());
        let run = engine.forced_logits(prompt, &masking, forced, &mut keep);
        run.expect("runs");
        for (step, decoded) in decoded.iter().enumerate() {
            let ids = &ids[..prompt.len() + step];
            let mut compare = |_, prefilled: &[f32]| {
                let nmse = check::nmse(prefilled, decoded);
                assert!(nmse < 1e-10, "mask {mask}, step {step}: NMSE {nmse:e}");
                Ok(())
            };
            let run = engine.forced_logits(ids, &masking, &[], &mut compare);
            run.expect("runs");
        }
        // So are the losses of what follows, whoever reads the prompt.
        for reading in [PrefillReading::Masked, PrefillReading::Full] {
            let mut decoded = Vec::new();
            let mut keep = |step: usize, logits: &[f32]| {
                decoded.extend(cross_entropy(logits, &forced[step..=step], (0.0, &[])));
                Ok(())
            };
            let masking = Masking::new(mask.clone(), reading);
            let run = engine.forced_logits(prompt, &masking, &forced[..2], &mut keep);
            run.expect("runs");
            let losses = engine.losses(&ids, prompt.len(), &masking);
            for (loss, decoded) in losses.expect("runs").iter().zip(decoded) {
                let allowed = 1e-5 * (1.0 + decoded);
                assert!(
                    (loss - decoded).abs() < allowed,
                    "{reading:?}, mask {mask}: {loss}, not {decoded}"
                );
            }
        }
    }
}

/// On GPUs workgroups share out the positions of a long context, and put together what they have: a dispatch more a layer,
/// and the logits of a token that is prefilled.
pub(super) fn long_contexts() {
    let options = TinyOptions {
        context: 1024,
        // As wide as the adapter's.
        head_dim: None,
        ..TinyOptions::llama3()
    };
    let mut engine = load(&options, AdapterMode::RunTime);
    engine.gpu.class.tuning.one_subgroup = false;
    let adapter = LoraAdapter::load(&folder(), &engine.model.config).expect("loads");
    engine.set_adapter(Some(&adapter)).expect("fits");
    let ids: Vec<u32> = (0..603).map(|index| 1 + index * 37 % 300).collect();
    let mask = LayerMask::parse("2.attn", LAYERS).expect("valid");
    let logits = |ids: &[u32], forced: &[u32]| {
        let mut all = Vec::new();
        let mut keep = |_, logits: &[f32]| {
            all.push(logits.to_vec());
            Ok(())
        };
        let run = engine.forced_logits(ids, &mask.clone().into(), forced, &mut keep);
        run.expect("runs");
        all
    };
    let (prompt, forced) = ids.split_at(600);
    for (step, decoded) in logits(prompt, forced).iter().enumerate() {
        let prefilled = &logits(&ids[..600 + step], &[])[0];
        let nmse = check::nmse(prefilled, decoded);
        assert!(nmse < 1e-10, "step {step}: NMSE {nmse:e}");
    }
    let mut answer = |ids: &[u32], max_tokens| {
        let request = Request {
            ids: ids.to_vec(),
            max_tokens,
            ..request(&engine, PROMPT, fixed("2.attn"))
        };
        generate(&mut engine, &request)
    };
    let (short, long) = (answer(&ids[..8], 2), answer(prompt, 2));
    let attentions = LAYERS as u32 - 1;
    assert_eq!(long.decode_dispatches, short.decode_dispatches + attentions);
    // An answer that grows so long goes on with other plans.
    let grown = answer(&ids[..508], 8);
    let counts: Vec<u32> = grown.submissions.iter().map(|one| one.dispatches).collect();
    let [few, more] = [short.decode_dispatches, long.decode_dispatches];
    assert_eq!(counts[1..], [few, few, few, few, more, more, more]);
    assert_eq!(grown.decode_dispatches, more, "those of the last");
    let again = answer(&[&ids[..508], &grown.answer_ids[..6]].concat(), 2);
    assert_eq!(again.answer_ids, grown.answer_ids[6..]);

    // Nothing is compiled for them while an answer is waited for.
    let mut engine = load(&options, AdapterMode::RunTime);
    engine.gpu.class.tuning.one_subgroup = false;
    engine.set_adapter(Some(&adapter)).expect("fits");
    let mut asked = request(&engine, PROMPT, fixed("2.attn"));
    engine
        .warm_up(&asked.policy, &asked.sampling)
        .expect("two tokens");
    let compiled = |engine: &Engine| engine.gpu.counters.now().pipelines;
    let before = compiled(&engine);
    asked.ids = prompt.to_vec();
    let run = generate(&mut engine, &asked);
    assert_eq!(run.decode_dispatches, long.decode_dispatches);
    assert_eq!(compiled(&engine), before);
}

/// What is masked has no dispatch of the adapter either.
pub(super) fn masked_sublayers_have_no_update() {
    let mut engine = load(&TinyOptions::default(), AdapterMode::RunTime);
    let count = |engine: &mut Engine, mask: &str| {
        let request = request(engine, PROMPT, fixed(mask));
        generate(engine, &request).decode_dispatches
    };
    // embed and its way down, then the plain model's: the rest of the ways down are parts of these.
    let full = count(&mut engine, "");
    assert_eq!(full, 2 + 5 * LAYERS as u32 + 2);
    assert_eq!(count(&mut engine, "1.attn"), full - 3);
    assert_eq!(count(&mut engine, "1.mlp,2"), full - 2 - 5);
    // A bench's `plain` is the model without it.
    let candidates = ["plain", "none"].map(|name| Candidate {
        name: name.to_owned(),
        policy: fixed(""),
        adapted: name != "plain",
    });
    let plan = BenchPlan {
        prompt: 0,
        answer: 2,
        depth: 0,
        repetitions: 1,
        detail: Detail::None,
    };
    let progress = &mut |_, _| ControlFlow::Continue(());
    let (report, _) = bench::run(&mut engine, &plan, &candidates, progress).expect("runs");
    let dispatches: Vec<_> = report.masks.iter().map(|m| m.decode_dispatches).collect();
    assert_eq!(dispatches, [full - 1, full]);
    assert_eq!(count(&mut engine, ""), full);
    let mut merged = load(&TinyOptions::default(), AdapterMode::Merged);
    assert_eq!(count(&mut merged, ""), 1 + 5 * LAYERS as u32 + 2);
}
