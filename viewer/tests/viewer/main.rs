//! Every registered panel on fixed data, a conversation with the tiny model, and files that are not what
//! they should be.

mod fixed;
mod looking;
mod models;
mod panels;
mod sessions;
mod window;
mod worker;

use first_wgpu::gpu::Gpu;
use libtest_mimic::{Arguments, Trial};

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), $module::$name as fn())),*]
    };
}

fn main() {
    let anywhere: &[(&str, fn())] = tests![
        panels::every_panel_exports,
        panels::panels_survive_what_is_not_there,
        panels::nothing_measured_is_not_a_number,
        panels::two_thousand_runs_of_eighty_layers,
        panels::long_prompts_are_drawn_where_they_are_looked_at,
        panels::the_last_layer_keeps_its_number,
        panels::wishes_win_over_the_policy,
        sessions::sessions_come_back_as_they_were,
        sessions::bad_sessions_are_refused,
        sessions::sessions_replace_nothing_else,
        sessions::what_is_no_file_is_no_session,
        sessions::a_panel_replaces_no_session,
        sessions::a_run_is_compared_with_another_one,
        sessions::the_demo_opens,
        window::what_cannot_be_loaded_is_a_message,
        looking::a_bad_session_leaves_the_good_one,
        looking::everything_has_a_name,
        looking::an_opened_log_is_live,
        looking::times_can_be_forgotten,
        looking::a_session_is_dropped_and_keys_save_and_open,
        looking::an_export_asks_before_it_replaces,
        looking::the_list_of_runs_follows_the_selected_one,
        looking::a_run_is_compared_with_another_or_with_none,
    ];
    let on_a_gpu: &[(&str, fn())] = tests![
        panels::every_panel_looks_as_it_did,
        window::a_layer_is_switched_off_and_the_answer_changes,
        window::a_run_is_repeated_as_it_was_read,
        window::a_set_runs_is_cancelled_saved_and_comes_back,
        window::another_session_has_no_error,
        window::another_session_hears_nothing_of_what_runs,
        window::what_is_not_saved_is_asked_about,
        window::a_window_that_is_at_work_asks_before_it_closes,
        window::a_run_is_compared_with_the_full_model,
        window::the_router_is_compared_with_controls_and_its_threshold_moved,
        window::a_lost_gpu_is_a_message_and_the_next_run_works,
        worker::a_bad_prompt_does_not_end_a_set,
        worker::what_masks_cost_is_measured_under_them,
        worker::losses_are_kept_when_the_timing_is_stopped,
    ];
    // Without an adapter these are listed as ignored, never as passed.
    let ignored = Gpu::list().is_empty();
    let trial = |(name, test): &(&'static str, fn())| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    };
    let mut trials: Vec<Trial> = anywhere.iter().map(trial).collect();
    trials.extend(on_a_gpu.iter().map(trial).map(|trial| {
        if ignored {
            trial.with_ignored_flag(true).with_kind("no GPU")
        } else {
            trial
        }
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
