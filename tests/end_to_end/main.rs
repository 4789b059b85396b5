//! Every policy and mask end to end on a generated model, on whatever adapter this machine has.

use first_wgpu::check;
use first_wgpu::engine::{AdapterMode, Engine, LoadOptions, Policy, Request};
use first_wgpu::gpu::Gpu;
use first_wgpu::mask::{LayerMask, PrefillReading};
use first_wgpu::model::tiny::{TinyOptions, write_tiny};
use first_wgpu::router::{Granularity, Router};
use first_wgpu::trace::Run;
use first_wgpu::train::trainer::{Lesson, Pull};
use libtest_mimic::{Arguments, Trial};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

mod adapters;
mod answers;
mod commands;
mod controls;
mod costs;
mod evaluation;
mod gradient_goldens;
mod gradients;
mod options;
mod parts;
mod readings;
mod resume;
mod routing;
mod saved;
mod steps;
mod training;
mod training_commands;

/// Which looks at threads that only this driver has.
const WORKERS: &str = "workers_of_software_vulkan_have_a_cpu_each";

const LAYERS: usize = 4;
const PROMPT: &str = "hello there, tell the user about an ant in the sun";

fn main() {
    let tests: &[(&str, fn())] = &[
        ("goldens_of_an_independent_implementation_agree", goldens),
        ("near_ties_are_no_differences", near_ties),
        (
            "masked_layers_have_no_dispatch_and_no_cache",
            routing::masks_are_absent,
        ),
        ("router_scores_equal_the_reference", routing::router_scores),
        ("a_mask_does_not_depend_on_chunks", routing::chunks),
        (
            "a_random_router_tells_prompts_apart",
            routing::prompts_differ,
        ),
        (
            "full_prefill_reads_the_prompt_with_every_layer",
            routing::full_prefill,
        ),
        ("sticky_turns_equal_one_long_prompt", answers::sticky),
        (
            "turns_go_on_from_a_prompt_all_have_read",
            answers::whole_turns,
        ),
        ("an_answer_ends_with_a_token_that_says_so", answers::ends),
        ("a_chat_knows_what_was_said", answers::turns_of_a_chat),
        ("a_seed_repeats_its_draws", answers::seeds),
        ("breaking_ends_cleanly", answers::breaking),
        ("prompts_that_do_not_fit_are_refused", answers::refused),
        (
            "scores_that_are_no_numbers_are_refused",
            routing::no_numbers,
        ),
        (
            "answers_have_no_start_token_of_their_own",
            answers::answers_go_on,
        ),
        ("a_closed_pipe_ends_an_answer", answers::closed_pipe),
        #[cfg(unix)]
        ("what_ctrl_c_breaks_off_is_kept", answers::interrupted),
        ("a_piped_prompt_is_what_was_typed", answers::piped_prompts),
        (
            "a_turn_that_does_not_fit_is_refused_alone",
            answers::long_turns,
        ),
        (
            "goldens_with_a_lora_adapter_agree_both_ways",
            adapters::goldens,
        ),
        ("both_ways_to_apply_an_adapter_agree", adapters::modes_agree),
        (
            "long_contexts_are_shared_out_on_gpus",
            adapters::long_contexts,
        ),
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
        (
            "a_mask_does_not_know_the_answer_it_is_measured_on",
            controls::answers_are_not_known,
        ),
        (
            "what_is_scored_is_what_the_mask_answers",
            controls::scores_are_of_the_mask,
        ),
        (
            "controls_are_searched_on_calibration_answers",
            controls::searched_on_calibration,
        ),
        (
            "block_influence_is_how_far_a_sublayer_turns_its_input",
            controls::block_influences,
        ),
        (
            "losses_of_both_readings_are_noted_apart",
            controls::readings_are_noted_apart,
        ),
        ("traces_hold_every_dispatch", costs::traces),
        ("tokens_come_when_they_are_done", costs::times),
        ("a_token_costs_known_counts", costs::counts),
        ("dropped_work_is_told_of", costs::dropped),
        ("after_a_warm_up_nothing_is_compiled", costs::warm_up),
        (WORKERS, costs::workers_apart),
        (
            "trained_routers_give_each_prompt_its_mask",
            training::trained,
        ),
        (
            "a_mask_is_held_against_the_full_model",
            training::against_the_full_model,
        ),
        ("the_commands_run_and_measure", commands::measuring),
        ("thresholds_and_rates_move_routers", options::thresholds),
        (
            "controls_skip_what_routers_do_with_their_adapter",
            options::controls_know_the_adapter,
        ),
        ("skipped_bytes_include_the_head", options::bytes),
        (
            "software_drivers_read_so_far_and_no_further",
            options::software_reads_so_far,
        ),
        ("tables_have_so_many_tasks", options::tasks_have_an_end),
        ("forced_tokens_are_the_models", options::forced_tokens),
        ("the_commands_train_and_serve", training_commands::training),
        (
            "one_mask_learned_skips_what_was_asked_for",
            gradients::hardened,
        ),
        (
            "what_is_protected_runs_in_training_too",
            gradients::protected,
        ),
        (
            "every_layer_may_read_the_prompt_in_training",
            readings::answers_alone,
        ),
        (
            "gradients_of_what_does_not_move_scale_nothing_down",
            gradients::norms,
        ),
        ("the_weights_of_routers_decay_alone", gradients::decay),
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
        ("a_step_learns_from_all_its_texts", steps::all_texts),
        ("large_gradients_are_scaled_down", steps::clipped),
        ("tasks_weigh_alike_in_a_look", steps::tasks_weigh_alike),
        ("a_student_learns_from_its_teacher", gradients::distilled),
        (
            "losses_do_not_depend_on_where_a_text_is_begun",
            parts::losses_of_long_texts,
        ),
        (
            "training_reads_long_texts_part_by_part",
            parts::long_texts_in_training,
        ),
        ("a_run_goes_on_bit_for_bit", resume::resumed),
        (
            "a_lost_device_loses_no_checkpoint",
            resume::a_lost_device_loses_no_checkpoint,
        ),
        (
            "what_diverges_is_not_kept",
            resume::what_diverges_is_not_kept,
        ),
    ];
    // What cannot run here is listed as ignored, with the reason, never as passed.
    let gpus = Gpu::list();
    let workers = gpus
        .first()
        .is_some_and(|gpu| gpu.name.starts_with("llvmpipe"));
    let trial = |(name, test): &(&str, fn())| {
        let test = *test;
        let reason = match *name {
            _ if gpus.is_empty() => Some("no GPU"),
            WORKERS if !(cfg!(target_os = "linux") && workers) => Some("no llvmpipe on Linux"),
            _ => None,
        };
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
    open(&options)
}

/// Held while a device is opened, whose driver's workers have not found their places yet.
static OPENING: Mutex<()> = Mutex::new(());

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(options: &LoadOptions) -> Engine {
    let _opening = held(&OPENING);
    Engine::load(options, &mut |_, _| ()).expect("the tiny model loads")
}

/// One engine for all tests, of a model whose answers vary: a device compiles its pipelines once.
fn with_engine<T>(test: impl FnOnce(&mut Engine) -> T) -> T {
    static ENGINE: OnceLock<Mutex<Engine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Mutex::new(load(&TinyOptions::llama3(), None)));
    let mut engine = held(engine);
    engine.reset();
    engine.model.chunk = 512;
    engine.model.attending = 512;
    test(&mut engine)
}

fn request(engine: &Engine, prompt: &str, policy: Policy) -> Request {
    let ids = engine.prompt_ids(prompt, true).expect("a valid prompt");
    Request {
        prompt: prompt.to_owned(),
        policy_name: "test".to_owned(),
        ..Request::new(ids, policy, 12)
    }
}

fn generate(engine: &mut Engine, request: &Request) -> Run {
    engine
        .generate(request, &mut |_| ControlFlow::Continue(()))
        .expect("generates")
}

fn fixed(mask: &str) -> Policy {
    Policy::Fixed(LayerMask::parse(mask, LAYERS).expect("a valid mask").into())
}

/// What enters each layer of the full model, what leaves the last one, and that normed.
fn streams(engine: &Engine, ids: &[u32]) -> Vec<Vec<f32>> {
    let mut streams = Vec::new();
    let mut keep = |_: usize, x: &[f32]| {
        streams.push(x.to_vec());
        Ok(())
    };
    let full = LayerMask::full(LAYERS);
    engine.hidden_states(ids, &full, &mut keep).expect("runs");
    streams
}

/// What a text teaches.
fn lesson(share: f32, pull: Option<Pull>) -> Option<Lesson> {
    Some(Lesson { share, pull })
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

/// Exact outputs of the model that `engine` holds. What a user's GPU may differ by is wider.
fn agrees(engine: &Engine, folder: &Path) {
    let entries = check::entries(folder).expect("goldens are committed");
    assert!(entries.iter().any(|entry| !entry.mask.is_empty()));
    for (index, entry) in entries.iter().enumerate() {
        let outcome = check::check(engine, folder, index, entry).expect("checks");
        assert!(outcome.passes(), "{outcome:?}");
        for nmse in [outcome.logits_nmse, outcome.hidden_nmse] {
            assert!(nmse.expect("was compared") < 1e-11, "{outcome:?}");
        }
    }
}

/// Of both generated models, and answers that vary.
fn goldens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    agrees(&load(&TinyOptions::default(), None), &folder);
    let folder = folder.join("llama3");
    with_engine(|engine| agrees(engine, &folder));
    for entry in check::entries(&folder).expect("goldens are committed") {
        let ids: HashSet<_> = entry.greedy.iter().collect();
        assert!(ids.len() > 3, "{ids:?} is an answer to anything");
    }
}

/// Where the reference's two best logits are close, its second token is right too, and no other is.
fn near_ties() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama3");
    let entry = check::entries(&folder)
        .expect("goldens are committed")
        .remove(0);
    let last = entry.greedy.len() - 1;
    let own = entry.greedy[last];
    with_engine(|engine| {
        for (gap, second, passes) in [
            (0.0, own, true),
            (0.0, own ^ 3, false),
            (check::NEAR_TIE, own, false),
        ] {
            let mut entry = entry.clone();
            entry.greedy[last] = own ^ 1;
            entry.runner_up[last] = second;
            entry.top1_minus_top2[last] = gap;
            let outcome = check::check(engine, &folder, 0, &entry).expect("checks");
            assert_eq!(outcome.passes(), passes, "{gap} {second}: {outcome:?}");
        }
    });
}
