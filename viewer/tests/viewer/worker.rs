//! The worker without a window.

use crate::models::{options as tiny_options, router, tiny};
use eframe::egui::Context;
use first_viewer::job::{Choice, Job, Options};
use first_viewer::prompts::{Prompt, examples};
use first_viewer::session::Control;
use first_viewer::worker::{Outcome, Worker};
use first_wgpu::mask::LayerMask;
use first_wgpu::trace::{Detail, Sampling};
use std::time::{Duration, Instant};

/// What it has done until it rests, and what it says of it; `hear` hears of each.
fn rest(worker: &Worker, mut hear: impl FnMut(&Outcome)) -> (Vec<Outcome>, Option<String>) {
    let clock = Instant::now();
    let mut outcomes = Vec::new();
    loop {
        let progress = worker.progress();
        progress.outcomes.iter().for_each(&mut hear);
        outcomes.extend(progress.outcomes);
        if progress.ready && !progress.busy {
            return (outcomes, progress.error);
        }
        assert!(clock.elapsed() < Duration::from_secs(600), "it is busy");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn options(choice: Choice) -> Options {
    Options {
        chat: false,
        choice,
        max_tokens: 8,
        sampling: Sampling::default(),
        detail: Detail::None,
    }
}

/// A worker that has loaded the tiny model and its routers, of a folder.
fn with_routers() -> (tempfile::TempDir, Worker) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut setup = tiny(folder.path(), &tiny_options());
    let model = setup.model.clone().expect("there is one");
    setup.router = Some(router(folder.path(), &model, &tiny_options()));
    let worker = Worker::start(setup, Context::default());
    rest(&worker, |_| ());
    (folder, worker)
}

pub(crate) fn a_bad_prompt_does_not_end_a_set() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let worker = Worker::start(tiny(folder.path(), &tiny_options()), Context::default());
    rest(&worker, |_| ());
    let long = "hello ".repeat(1000);
    let texts = ["hello", &long, "user", &long];
    let prompts = texts.map(|text| Prompt {
        text: text.to_owned(),
        ..Prompt::default()
    });
    worker.send(0, Job::Prompts(prompts.to_vec(), options(Choice::Full)));
    let (outcomes, error) = rest(&worker, |_| ());
    let prompts = outcomes.iter().map(|outcome| match outcome {
        Outcome::Run { run, .. } => run.prompt.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(prompts.collect::<Vec<_>>(), ["hello", "user"]);
    let error = error.expect("it is said which");
    for needle in ["prompt 2 of 4: ", "shorten the prompt", "1 other prompt"] {
        assert!(error.contains(needle), "{error}");
    }
}

/// A mask parts a run from the full model, and losses are of the masks that they stand beside.
pub(crate) fn what_masks_cost_is_measured_under_them() {
    let (_folder, worker) = with_routers();
    let mask = LayerMask::parse("1.attn", tiny_options().layers).expect("valid");
    let choice = Choice::Mask(mask.clone().into());
    let prompt = Prompt {
        text: "hello".to_owned(),
        ..Prompt::default()
    };
    worker.send(0, Job::Prompts(vec![prompt], options(choice)));
    let (outcomes, _) = rest(&worker, |_| ());
    let [Outcome::Run { run, .. }] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(run.mask, mask);
    worker.send(0, Job::Agreement(0, run.clone()));
    let (outcomes, _) = rest(&worker, |_| ());
    let [Outcome::Agreement { agreement, .. }] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(agreement.kl.len(), run.answer_ids.len());
    assert!(agreement.kl.iter().any(|kl| *kl > 1e-3), "{agreement:?}");
    worker.send(0, Job::Controls(examples(), options(Choice::Routed)));
    let (outcomes, _) = rest(&worker, |_| worker.stop());
    let Outcome::Controls { controls, .. } = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    for (index, control) in controls.iter().enumerate() {
        for other in &controls[..index] {
            let alike = [control.masks == other.masks, control.losses == other.losses];
            assert_eq!(alike[0], alike[1], "{} and {}", control.name, other.name);
        }
    }
    assert_ne!(controls[0].losses, controls[1].losses);
}

/// Losses take long: they are there as soon as they are known, and stay when the user stops the timing.
pub(crate) fn losses_are_kept_when_the_timing_is_stopped() {
    let (_folder, worker) = with_routers();
    worker.send(0, Job::Controls(examples(), options(Choice::Routed)));
    let (outcomes, error) = rest(&worker, |_| worker.stop());
    assert_eq!(error, None);
    let controls: Vec<Vec<Control>> = outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Outcome::Controls { controls, .. } => controls,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(controls.len(), 2, "once before the timing, once after");
    for controls in &controls {
        assert!(controls.iter().all(|control| control.losses.len() == 3));
    }
    assert!(
        controls[0]
            .iter()
            .all(|control| control.tpot_nanos.is_empty())
    );
}
