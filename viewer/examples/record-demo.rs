//! Records the session that comes with the viewer, with the default model, its routers and its LoRA:
//! `cargo run --release -p first-viewer --example record-demo`, from the repository's root.

use anyhow::Context;
use first_viewer::job::{Choice, Job, Options};
use first_viewer::prompts::{Prompt, examples};
use first_viewer::session::Session;
use first_viewer::worker::{Outcome, Setup, Worker};
use first_wgpu::trace::{Detail, Sampling};
use std::path::Path;
use std::time::Duration;

const SHIPPED: &str = "adapters/smollm2-135m-instruct";

/// The number of the only session.
const SESSION: u64 = 0;

/// Good answers to the examples, to measure what skipping costs.
const ANSWERS: [&str; 3] = [
    "1867",
    "Young bees learn landmarks within three days, and use the sun only later.",
    "```python\ndef largest(numbers):\n    return max(numbers)\n```",
];

/// Beside the examples: tag, text, a good answer.
const PROMPTS: [(&str, &str, &str); 5] = [
    (
        "question",
        "When was the bridge built? Answer from the passage.\n\
         Passage: The town lies where two rivers meet. Its old bridge, built of red stone in 1421, is the only one \
         that outlasted the great flood.",
        "1421",
    ),
    (
        "summary",
        "Summarize this abstract in one sentence: Glaciers hold dust from far away. We measure the dust in forty ice \
         cores and show that most of it came from two deserts, and that the winds have turned twice in the last \
         thousand years.",
        "Most dust in forty ice cores came from two deserts, and the winds have turned twice in a thousand years.",
    ),
    (
        "code",
        "Write a Python function to reverse a string. Your code should pass this test: assert reverse('abc') == 'cba'",
        "```python\ndef reverse(text):\n    return text[::-1]\n```",
    ),
    (
        "chat",
        "You are a baker. Explain to a child why bread rises.",
        "Yeast eats the sugar in the dough and breathes out tiny bubbles, and the bubbles lift the bread.",
    ),
    (
        "chat",
        "You are the keeper of a lighthouse. Tell a traveller about the storm of last night.",
        "The wind came from the west, and the waves rose higher than my lamp. All night I kept the light burning.",
    ),
];

fn main() -> anyhow::Result<()> {
    let setup = Setup {
        router: Some(SHIPPED.into()),
        adapter: Some(SHIPPED.into()),
        ..Setup::default()
    };
    let worker = Worker::start(setup, Default::default());
    let mut session = Session::default();
    let mut all = examples();
    for (prompt, answer) in all.iter_mut().zip(ANSWERS) {
        prompt.completion = Some(answer.to_owned());
    }
    all.extend(PROMPTS.map(|(tag, text, answer)| Prompt {
        text: text.to_owned(),
        tag: Some(tag.to_owned()),
        completion: Some(answer.to_owned()),
    }));
    let options = |choice, max_tokens, detail| Options {
        chat: true,
        choice,
        max_tokens,
        sampling: Sampling::default(),
        detail,
    };
    wait(&worker, &mut session)?;
    let first = vec![all[0].clone()];
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
        worker.send(SESSION, job);
        wait(&worker, &mut session)?;
    }
    // As the routers do by themselves, and at the highest threshold.
    let highest = session
        .runs
        .iter()
        .rposition(|run| run.policy == "routed at 0.90");
    for run in [0, highest.context("no run at the highest threshold")?] {
        let job = Job::Agreement(run, Box::new(session.runs[run].clone()));
        worker.send(SESSION, job);
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
                Outcome::Run { run, .. } => session.runs.push(*run),
                Outcome::Agreement { agreement, .. } => session.agreements.push(agreement),
                Outcome::Controls { controls, of, .. } => {
                    session.controls = controls;
                    session.controls_of = Some(of);
                }
                Outcome::Router { calibration, .. } => session.calibration = calibration,
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
