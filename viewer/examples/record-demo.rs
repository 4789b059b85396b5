//! Records the session that comes with the viewer, with the default model and its routers:
//! `cargo run --release -p first-viewer --example record-demo`, from the repository's root.

use first_viewer::job::{Choice, Job, Options};
use first_viewer::prompts::Prompt;
use first_viewer::session::Session;
use first_viewer::worker::{Outcome, Setup, Worker};
use first_wgpu::trace::{Detail, Sampling};
use std::path::Path;
use std::time::Duration;

const PROMPTS: [(&str, &str); 6] = [
    ("question", "What is the capital of France?"),
    ("question", "Why is the sky blue?"),
    (
        "sum",
        "Tom has 3 boxes with 12 pencils each. He gives away 7. How many are left?",
    ),
    ("sum", "What is 15 percent of 80?"),
    (
        "translation",
        "Translate into French: The weather is nice today.",
    ),
    (
        "translation",
        "Translate into German: Where is the next station?",
    ),
];

fn main() -> anyhow::Result<()> {
    let setup = Setup {
        router: Some("routers/smollm2-135m".into()),
        ..Setup::default()
    };
    let worker = Worker::start(setup, Default::default());
    let mut session = Session::default();
    let prompts = PROMPTS.map(|(tag, text)| Prompt {
        text: text.to_owned(),
        tag: Some(tag.to_owned()),
        completion: None,
    });
    let options = |choice, max_tokens, detail| Options {
        chat: true,
        choice,
        max_tokens,
        sampling: Sampling::default(),
        detail,
    };
    wait(&worker, &mut session)?;
    let all = prompts.to_vec();
    let first = vec![prompts[0].clone()];
    let mut jobs = vec![
        Job::Prompts(all.clone(), options(Choice::Routed, 24, Detail::None)),
        Job::Prompts(first.clone(), options(Choice::Full, 24, Detail::None)),
    ];
    for threshold in [0.3, 0.7, 0.9] {
        let choice = Choice::RoutedAt(threshold);
        jobs.push(Job::Prompts(
            first.clone(),
            options(choice, 24, Detail::None),
        ));
    }
    let traced = options(Choice::Routed, 4, Detail::Dispatch);
    jobs.push(Job::Prompts(first, traced));
    jobs.push(Job::Controls(
        all,
        options(Choice::Routed, 24, Detail::None),
    ));
    for job in jobs {
        worker.send(job);
        wait(&worker, &mut session)?;
    }
    for run in [0, 9] {
        worker.send(Job::Agreement(run, Box::new(session.runs[run].clone())));
        wait(&worker, &mut session)?;
    }
    session.save(Path::new("viewer/demo.json"))?;
    Ok(())
}

/// Waits until the worker has nothing to do, and takes what it has done.
fn wait(worker: &Worker, session: &mut Session) -> anyhow::Result<()> {
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let progress = worker.progress();
        for outcome in progress.outcomes {
            match outcome {
                Outcome::Run(run) => session.runs.push(*run),
                Outcome::Agreement(agreement) => session.agreements.push(agreement),
                Outcome::Controls(controls) => session.controls = controls,
                Outcome::Router(calibration) => session.calibration = calibration,
            }
        }
        if let Some(error) = progress.error {
            anyhow::bail!(error);
        }
        if progress.ready && !progress.busy {
            return Ok(());
        }
    }
}
