//! The worker without a window.

use crate::models::{options as tiny_options, router, tiny};
use eframe::egui::Context;
use first_viewer::job::{Choice, Job, Options};
use first_viewer::prompts::{Prompt, examples};
use first_viewer::session::Control;
use first_viewer::worker::{Outcome, Worker};
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
        assert!(clock.elapsed() < Duration::from_secs(60), "it is busy");
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

/// Losses take long: they are there as soon as they are known, and stay when the user stops the timing.
pub(crate) fn losses_are_kept_when_the_timing_is_stopped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut setup = tiny(folder.path(), &tiny_options());
    let model = setup.model.clone().expect("there is one");
    setup.router = Some(router(folder.path(), &model, &tiny_options()));
    let worker = Worker::start(setup, Context::default());
    rest(&worker, |_| ());
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
