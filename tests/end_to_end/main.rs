//! Every policy and mask end to end on a generated model, on whatever adapter this machine has.

use first_wgpu::check;
use first_wgpu::data::Example;
use first_wgpu::engine::{AdapterMode, Engine, Event, LoadOptions, Policy, Request};
use first_wgpu::gpu::Gpu;
use first_wgpu::mask::{LayerMask, Sublayer};
use first_wgpu::model::chat_template::Message;
use first_wgpu::model::tiny::{TinyOptions, tiny_bytes, write_tiny};
use first_wgpu::reference::router_score::{pool, router_score};
use first_wgpu::router::{Granularity, PrefillReading, Router};
use first_wgpu::trace::{Detail, Run, Sampling};
use libtest_mimic::{Arguments, Trial};
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

mod adapters;
mod costs;
mod evaluation;
mod gradient_goldens;
mod gradients;
mod readings;
mod resume;
mod training;

const LAYERS: usize = 4;
const PROMPT: &str = "hello there, tell the user about an ant in the sun";

fn main() {
    let tests: &[(&str, fn())] = &[
        ("goldens_of_an_independent_implementation_agree", goldens),
        (
            "masked_layers_have_no_dispatch_and_no_cache",
            masks_are_absent,
        ),
        ("router_scores_equal_the_reference", router_scores),
        ("a_mask_does_not_depend_on_chunks", chunks),
        ("a_random_router_tells_prompts_apart", prompts_differ),
        (
            "full_prefill_reads_the_prompt_with_every_layer",
            full_prefill,
        ),
        ("sticky_turns_equal_one_long_prompt", sticky),
        ("a_seed_repeats_its_draws", seeds),
        ("breaking_ends_cleanly", breaking),
        ("prompts_that_do_not_fit_are_refused", refused),
        ("scores_that_are_no_numbers_are_refused", no_numbers),
        ("answers_have_no_start_token_of_their_own", answers_go_on),
        ("a_closed_pipe_ends_an_answer", closed_pipe),
        (
            "goldens_with_a_lora_adapter_agree_both_ways",
            adapters::goldens,
        ),
        ("both_ways_to_apply_an_adapter_agree", adapters::modes_agree),
        (
            "decode_with_an_adapter_equals_prefill",
            adapters::decode_equals_prefill,
        ),
        (
            "masked_sublayers_have_no_update",
            adapters::masked_sublayers_have_no_update,
        ),
        (
            "controls_are_measured_once_at_the_routers_rate",
            evaluation::measured_once_at_one_rate,
        ),
        (
            "prompts_that_every_layer_reads_are_shared",
            evaluation::prompts_are_shared,
        ),
        (
            "prompts_that_every_layer_reads_are_read_once",
            evaluation::prompts_are_read_once,
        ),
        (
            "one_mask_is_held_against_routers_of_its_rate",
            evaluation::one_mask_as_routers,
        ),
        (
            "a_fixed_mask_is_the_smaller_model",
            evaluation::a_fixed_mask_is_the_smaller_model,
        ),
        ("traces_hold_every_dispatch", costs::traces),
        ("a_token_costs_known_counts", costs::counts),
        (
            "trained_routers_give_each_prompt_its_mask",
            training::trained,
        ),
        (
            "a_mask_is_held_against_the_full_model",
            training::against_the_full_model,
        ),
        ("the_commands_train_and_serve", training::commands),
        (
            "one_mask_learned_skips_what_was_asked_for",
            gradients::hardened,
        ),
        (
            "every_layer_may_read_the_prompt_in_training",
            readings::answers_alone,
        ),
        (
            "gradients_of_what_does_not_move_scale_nothing_down",
            gradients::norms,
        ),
        (
            "a_calibration_is_what_prompts_skip_at_each_threshold",
            readings::calibrated,
        ),
        (
            "who_reads_the_prompt_is_one_to_the_full_model",
            readings::readings_of_the_full_model,
        ),
        (
            "models_too_narrow_to_train_on_answers_alone_are_refused",
            readings::narrow_models_are_refused,
        ),
        (
            "training_reads_a_text_as_the_engine_does",
            gradients::forward,
        ),
        (
            "gradients_and_steps_equal_those_of_pytorch",
            gradient_goldens::agree,
        ),
        ("gradients_are_slopes_of_the_loss", gradients::slopes),
        ("a_student_learns_from_its_teacher", gradients::distilled),
        ("a_run_goes_on_bit_for_bit", resume::resumed),
        (
            "a_lost_device_loses_no_checkpoint",
            resume::a_lost_device_loses_no_checkpoint,
        ),
    ];
    // Without an adapter these are listed as ignored, never as passed.
    let reason = if Gpu::list().is_empty() {
        Some("no GPU adapter")
    } else {
        None
    };
    let trial = |(name, test): &(&str, fn())| {
        let test = *test;
        let trial = Trial::test(*name, move || {
            test();
            Ok(())
        });
        match reason {
            Some(reason) => trial.with_ignored_flag(true).with_kind(reason),
            None => trial,
        }
    };
    libtest_mimic::run(&Arguments::from_args(), tests.iter().map(trial).collect()).exit();
}

fn mean(losses: &[f32]) -> f64 {
    let sum: f64 = losses.iter().map(|loss| f64::from(*loss)).sum();
    sum / losses.len() as f64
}

/// The tiny model on a device of its own, with an adapter's folder applied in one of the ways.
fn load(tiny: &TinyOptions, adapter: Option<(PathBuf, AdapterMode)>) -> Engine {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, tiny).expect("written");
    let (adapter, adapter_mode) = adapter.unzip();
    let options = LoadOptions {
        model,
        adapter,
        adapter_mode: adapter_mode.unwrap_or_default(),
        ..Default::default()
    };
    Engine::load(&options, &mut |_, _| ()).expect("the tiny model loads")
}

/// One engine for all tests: a device compiles its pipelines once.
fn with_engine<T>(test: impl FnOnce(&mut Engine) -> T) -> T {
    static ENGINE: OnceLock<Mutex<Engine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Mutex::new(load(&TinyOptions::default(), None)));
    let mut engine = engine
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    engine.reset();
    engine.model.chunk = 512;
    test(&mut engine)
}

fn request(engine: &Engine, prompt: &str, policy: Policy) -> Request {
    Request {
        prompt: prompt.to_owned(),
        ids: engine.prompt_ids(prompt, true).expect("a valid prompt"),
        policy,
        policy_name: "test".to_owned(),
        max_tokens: 12,
        sampling: Sampling::default(),
        detail: Detail::None,
        stop_at_end: false,
    }
}

fn generate(engine: &mut Engine, request: &Request) -> Run {
    engine
        .generate(request, &mut |_| ControlFlow::Continue(()))
        .expect("generates")
}

fn fixed(mask: &str) -> Policy {
    Policy::Fixed(LayerMask::parse(mask, LAYERS).expect("a valid mask"))
}

/// A router of random weights large enough to decide by what it reads.
fn random_router(granularity: Granularity, prefill: PrefillReading) -> Router {
    let count = LAYERS * granularity.routers_per_layer();
    let mut state = 7u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    Router {
        granularity,
        weights: (0..count * 64).map(|_| random()).collect(),
        biases: (0..count).map(|_| random()).collect(),
        thresholds: vec![0.5; count],
        epsilon: Some(1e-5),
        prefill,
        protected: vec![[false; 2]; LAYERS],
    }
}

fn goldens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = check::entries(&folder).expect("goldens are committed");
    assert!(
        entries.iter().any(|entry| !entry.mask.is_empty()),
        "masked goldens are there"
    );
    with_engine(|engine| {
        for (index, entry) in entries.iter().enumerate() {
            let outcome = check::check(engine, &folder, index, entry).expect("checks");
            assert!(
                outcome.logits_nmse.is_some() && outcome.hidden_nmse.is_some(),
                "nothing was compared"
            );
            assert!(outcome.passes(), "{outcome:?}");
        }
    });
}

fn masks_are_absent() {
    with_engine(|engine| {
        let full = generate(engine, &request(engine, PROMPT, fixed("")));
        // embed, then 3 dispatches an attention and 2 an MLP, then head and argmax
        assert_eq!(full.decode_dispatches, 1 + 5 * LAYERS as u32 + 2);
        assert_eq!(full.kv_bytes, full.kv_bytes_full);
        for (mask, attn, mlp) in [
            ("1", 1, 1),
            ("0-2", 3, 3),
            ("1.attn", 1, 0),
            ("0.mlp,3.mlp", 0, 2),
            ("1.attn,2", 2, 1),
        ] {
            let masked = generate(engine, &request(engine, PROMPT, fixed(mask)));
            assert_eq!(
                masked.decode_dispatches,
                full.decode_dispatches - 3 * attn - 2 * mlp,
                "decode of {mask}"
            );
            assert_eq!(
                masked.prefill_dispatches,
                full.prefill_dispatches - 4 * attn - 3 * mlp,
                "prefill of {mask}"
            );
            let share = u64::from(LAYERS as u32 - attn);
            assert_eq!(
                masked.kv_bytes * LAYERS as u64,
                full.kv_bytes * share,
                "KV cache of {mask}"
            );
            assert_eq!(masked.mask.to_string(), mask);
        }
    });
}

fn router_scores() {
    with_engine(|engine| {
        for granularity in [Granularity::Layer, Granularity::Sublayer] {
            let mut router = random_router(granularity, PrefillReading::Masked);
            let count = granularity.routers_per_layer();
            // Without weights, a layer's routers say the same of every token, and the GPU is not asked.
            router.weights[count * 64..][..count * 64].fill(0.0);
            engine.set_router(&router).expect("fits");
            let run = generate(
                engine,
                &request(engine, PROMPT, Policy::Routed(router.decision())),
            );
            assert_eq!(run.scores.len(), LAYERS * count);
            let fixed = request(engine, PROMPT, Policy::Fixed(run.mask.clone()));
            let fixed = generate(engine, &fixed);
            assert_eq!(
                run.prefill_dispatches as usize,
                fixed.prefill_dispatches as usize + LAYERS - 1
            );
            // A layer's score reads the stream that the layers before it left, under the mask so far.
            let mut inputs = Vec::new();
            let mut keep = |_: usize, x: &[f32]| {
                inputs.push(x.to_vec());
                Ok(())
            };
            engine
                .hidden_states(&run.prompt_ids, &run.mask, &mut keep)
                .expect("runs");
            for (index, score) in run.scores.iter().enumerate() {
                let weights = &router.weights[index * 64..][..64];
                let expected = router_score(
                    &inputs[index / count],
                    weights,
                    router.biases[index],
                    Some(1e-5),
                );
                for (expected, found) in expected.iter().zip(&score.tokens) {
                    assert!(
                        (expected - found).abs() < 1e-5,
                        "router {index}: expected {expected}, found {found}"
                    );
                }
                assert_eq!(score.score, pool(&score.tokens));
                let runs = run.mask.runs(
                    score.layer,
                    score.sublayer.map_or(Sublayer::Attn, Into::into),
                );
                assert_eq!(runs, score.score >= score.threshold, "router {index}");
            }
        }
    });
}

fn chunks() {
    with_engine(|engine| {
        let router = random_router(Granularity::Sublayer, PrefillReading::Masked);
        engine.set_router(&router).expect("fits");
        let prompt = PROMPT.repeat(3);
        let whole = generate(
            engine,
            &request(engine, &prompt, Policy::Routed(router.decision())),
        );
        assert!(whole.prompt_ids.len() > 96, "the prompt has several chunks");
        engine.model.chunk = 32;
        let split = generate(
            engine,
            &request(engine, &prompt, Policy::Routed(router.decision())),
        );
        assert!(
            split.prefill_dispatches > whole.prefill_dispatches,
            "the prompt was split"
        );
        assert_eq!(whole.scores, split.scores);
        assert_eq!(
            (whole.mask, whole.answer_ids),
            (split.mask, split.answer_ids)
        );
    });
}

fn prompts_differ() {
    with_engine(|engine| {
        let mut router = random_router(Granularity::Sublayer, PrefillReading::Masked);
        let prompts = [
            "hello",
            "42 + 17 =",
            "le soleil est là",
            PROMPT,
            "fn main() { }",
            "\t\n\t",
        ];
        // Thresholds at the median score of these prompts, as a calibration would put them.
        engine.set_router(&router).expect("fits");
        let mut scores = vec![Vec::new(); router.thresholds.len()];
        for prompt in prompts {
            let run = generate(
                engine,
                &request(
                    engine,
                    prompt,
                    Policy::Routed(router.decision().with_threshold(0.0)),
                ),
            );
            run.scores
                .iter()
                .enumerate()
                .for_each(|(index, score)| scores[index].push(score.score));
        }
        for (threshold, scores) in router.thresholds.iter_mut().zip(&mut scores) {
            scores.sort_by(f32::total_cmp);
            *threshold = scores[scores.len() / 2];
        }
        let mut masks: Vec<String> = Vec::new();
        for prompt in prompts {
            let run = generate(
                engine,
                &request(engine, prompt, Policy::Routed(router.decision())),
            );
            masks.push(run.mask.to_string());
        }
        masks.sort();
        masks.dedup();
        assert!(masks.len() >= 3, "{masks:?}");
    });
}

fn full_prefill() {
    with_engine(|engine| {
        let mut router = random_router(Granularity::Sublayer, PrefillReading::Full);
        router.protected[0] = [true; 2];
        engine.set_router(&router).expect("fits");
        // A threshold above every score skips all that is not protected.
        let decision = router.decision().with_threshold(1.1);
        let run = generate(engine, &request(engine, PROMPT, Policy::Routed(decision)));
        assert_eq!(run.mask.to_string(), "1-3");
        assert_eq!(
            run.kv_bytes * LAYERS as u64,
            run.kv_bytes_full,
            "only the protected layer keeps a cache"
        );
        let mut states = Vec::new();
        let mut keep = |_: usize, x: &[f32]| {
            states.push(x.to_vec());
            Ok(())
        };
        engine
            .hidden_states(&run.prompt_ids, &LayerMask::full(LAYERS), &mut keep)
            .expect("runs");
        for (index, score) in run.scores.iter().enumerate() {
            let expected = router_score(
                &states[index / 2],
                &router.weights[index * 64..][..64],
                router.biases[index],
                Some(1e-5),
            );
            assert!(
                (pool(&expected) - score.score).abs() < 1e-5,
                "layer {} saw a masked stream",
                score.layer
            );
        }
    });
}

fn sticky() {
    with_engine(|engine| {
        for mask in ["", "1.attn,2"] {
            engine.model.chunk = 32;
            let first = generate(engine, &request(engine, PROMPT, fixed(mask)));
            assert!(first.prompt_ids.len() > 32, "the prompt has several chunks");
            let mut next = request(engine, "hello", Policy::Sticky);
            next.ids = [
                &first.prompt_ids[..],
                &first.answer_ids[..],
                &engine.prompt_ids(PROMPT, true).expect("valid")[..],
            ]
            .concat();
            let continued = generate(engine, &next);
            next.policy = fixed(mask);
            let fresh = generate(engine, &next);
            assert!(
                continued.prefill_dispatches < fresh.prefill_dispatches,
                "what is known is not read again"
            );
            assert_eq!(continued.answer_ids, fresh.answer_ids, "{mask}");
            assert_eq!(continued.mask, fresh.mask);
        }
    });
}

/// Of weights that are finite themselves.
fn no_numbers() {
    with_engine(|engine| {
        for reading in [PrefillReading::Masked, PrefillReading::Full] {
            let mut router = random_router(Granularity::Sublayer, reading);
            router.weights.fill(f32::MAX);
            engine.set_router(&router).expect("fits");
            let request = request(engine, PROMPT, Policy::Routed(router.decision()));
            let error = engine.generate(&request, &mut |_| ControlFlow::Continue(()));
            let error = error.expect_err("no number").to_string();
            assert!(error.contains("not a number"), "{error}");
        }
    });
}

/// Nor has the middle of an example, where the model's texts begin with one.
fn answers_go_on() {
    let [without, with] = [0u8, 1].map(|add_bos| {
        let key = b"tokenizer.ggml.add_bos_token";
        let mut bytes = tiny_bytes(&TinyOptions::default());
        let at = bytes.windows(key.len()).position(|window| window == key);
        // Its name, its kind in four bytes, its value.
        bytes[at.expect("the key") + key.len() + 4] = add_bos;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = folder.path().join("tiny.gguf");
        std::fs::write(&model, bytes).expect("written");
        let options = LoadOptions {
            model,
            ..Default::default()
        };
        let engine = Engine::load(&options, &mut |_, _| ()).expect("loads");
        let example = Example {
            task: None,
            messages: vec![Message::new("user", "hello")],
            completion: "the sun".to_owned(),
        };
        let raw = engine.prompt_ids("hello", false).expect("ids").len();
        (example.tokens(&engine, 256).expect("fits"), raw)
    });
    assert_eq!(without.0, with.0);
    assert_eq!(without.1 + 1, with.1, "a text does begin with it");
}

/// As `| head -c1` closes it.
fn closed_pipe() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::default()).expect("written");
    for more in [&[][..], &["--json"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_first"))
            .args(["run", "-n", "4", "-m"])
            .arg(&model)
            .args(more)
            .arg(PROMPT)
            .env("XDG_CACHE_HOME", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
}

fn seeds() {
    with_engine(|engine| {
        let mut draw = |seed: u64, temperature: f32| {
            let mut request = request(engine, PROMPT, fixed(""));
            request.sampling = Sampling {
                temperature,
                top_k: 50,
                top_p: 0.95,
                min_p: 1e-4,
                seed,
            };
            generate(engine, &request).answer_ids
        };
        assert_eq!(draw(1, 1.0), draw(1, 1.0));
        // The tiny model is sure of itself, so only a high temperature makes it draw.
        assert_ne!(draw(1, 50.0), draw(2, 50.0));
        let cold = draw(3, 0.001);
        let greedy = generate(engine, &request(engine, PROMPT, fixed("")));
        assert_eq!(cold, greedy.answer_ids);
    });
}

fn breaking() {
    with_engine(|engine| {
        let request = request(engine, PROMPT, fixed(""));
        let mut tokens = 0;
        let run = engine.generate(&request, &mut |event| match event {
            Event::Token(..) => {
                tokens += 1;
                if tokens == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }
            _ => ControlFlow::Continue(()),
        });
        let run = run.expect("a broken-off answer is an answer");
        assert_eq!(run.answer_ids.len(), 3);
        let whole = generate(engine, &request);
        assert_eq!(
            run.answer_ids,
            whole.answer_ids[..3],
            "the engine works on as before"
        );
    });
}

fn refused() {
    with_engine(|engine| {
        let long = "word ".repeat(2000);
        let error = engine
            .prompt_ids(&long, true)
            .expect_err("too long")
            .to_string();
        assert!(error.contains("context holds 256"), "{error}");
        assert!(engine.prompt_ids("", false).is_err());
        assert!(
            engine
                .generate(&request(engine, PROMPT, Policy::Sticky), &mut |_| {
                    ControlFlow::Continue(())
                })
                .is_err()
        );
    });
}
