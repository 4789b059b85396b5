//! A run of training, from texts to routers and an adapter.

use super::checkpoint::Checkpoint;
use super::log::{EvaluationLine, Header, Log, StepLine, VERSION, last_evaluation};
use super::schedule::RunOptions;
use super::trainer::{Lesson, Route, Trainer};
use crate::adapter::{LoraAdapter, Target};
use crate::data::Tokens;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::file::digest;
use crate::kernels::attention_keys_backward;
use crate::random::Random;
use crate::router::Router;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// Texts by task.
pub type Tasks = BTreeMap<String, Vec<Tokens>>;

/// Where a run keeps what it needs to go on, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Keeping<'a> {
    /// The folder of the run.
    pub folder: &'a Path,
    /// The command, for the log.
    pub command: &'a str,
    /// SHA-256 of the model's file: another model's run does not go on from here.
    pub model_sha256: &'a str,
    /// Steps between checkpoints.
    pub checkpoint: u32,
    /// Steps between looks at held-out texts; 0 for none.
    pub evaluate: u32,
}

/// What a run begins with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beginning<'a> {
    /// Routers of an earlier run.
    pub router: Option<&'a Router>,
    /// Low-rank updates of an earlier run.
    pub adapter: Option<&'a LoraAdapter>,
    /// Low-rank updates that the full model teaches with; without, it teaches as it is.
    pub teacher: Option<&'a LoraAdapter>,
}

/// The text of a task that comes `index`-th, if every task is shuffled anew each time it has been gone through.
fn shuffled(texts: usize, task: usize, index: usize, seed: u64) -> usize {
    let (round, at) = (index / texts, index % texts);
    let mut random = Random(seed ^ ((task as u64) << 32) ^ ((round as u64) << 40));
    let mut order: Vec<usize> = (0..texts).collect();
    for last in (1..texts).rev() {
        order.swap(last, random.below(last + 1));
    }
    order[at]
}

/// The texts of a step, each as its task and its place there. Tasks, which have so many texts each, take turns.
fn places(
    lengths: &[usize],
    batch: usize,
    seed: u64,
    step: u32,
) -> impl Iterator<Item = (usize, usize)> {
    let first = step as usize * batch;
    (first..first + batch).map(move |at| {
        let (task, index) = (at % lengths.len(), at / lengths.len());
        (task, shuffled(lengths[task], task, index, seed))
    })
}

/// What a run of so many steps trains on, as task and place in it: of tasks in the order of their names, with so many texts
/// each. The rest is as new to it as any held-out text.
pub fn drawn(lengths: &[usize], batch: usize, seed: u64, steps: u32) -> BTreeSet<(usize, usize)> {
    (0..steps)
        .flat_map(|step| places(lengths, batch, seed, step))
        .collect()
}

/// The texts of a step.
fn batch<'a>(tasks: &'a Tasks, options: &RunOptions, step: u32) -> Vec<&'a Tokens> {
    let lists: Vec<&Vec<Tokens>> = tasks.values().collect();
    let lengths: Vec<usize> = lists.iter().map(|texts| texts.len()).collect();
    places(&lengths, options.batch, options.seed, step)
        .map(|(task, place)| &lists[task][place])
        .collect()
}

/// A digest of what texts are for, as a model, and the texts.
fn digest_of(what: &str, tasks: &Tasks) -> String {
    let mut bytes = what.to_owned().into_bytes();
    for (task, texts) in tasks {
        bytes.extend(digest(task.as_bytes()).into_bytes());
        for text in texts {
            bytes.extend(digest(&text.bytes()).into_bytes());
        }
    }
    digest(&bytes)
}

/// One step: gradients of its texts, and the optimiser.
fn step(
    trainer: &mut Trainer<'_>,
    tasks: &Tasks,
    options: &RunOptions,
    index: u32,
    layers: usize,
) -> Result<StepLine> {
    let clock = Instant::now();
    let moment = options.moment(index, layers)?;
    let texts = batch(tasks, options, index);
    let share = 1.0 / texts.len() as f32;
    let lesson = Lesson {
        share,
        pull: moment.pull,
    };
    let mut line = StepLine {
        step: index + 1,
        loss: 0.0,
        tokens: 0,
        seconds: 0.0,
        skip_soft: 0.0,
        skip_hard: 0.0,
        tau: match &moment.route {
            Route::Gated(gating) => Some(gating.temperature),
            Route::Routed | Route::Fixed(_) => None,
        },
        gradient_norm: 0.0,
        scores: Vec::new(),
    };
    for text in texts {
        let outcome = trainer.text(text, &moment.route, Some(lesson))?;
        if !outcome.loss.is_finite() {
            return Err(diverged("the loss", index + 1));
        }
        let share = f64::from(share);
        line.loss += share * outcome.loss;
        line.tokens += text.ids.len() - 1;
        line.skip_soft += share * outcome.skip;
        line.skip_hard += share * trainer.skip_rate(&outcome.mask);
        line.scores.resize(outcome.scores.len(), 0.0);
        for (sum, score) in line.scores.iter_mut().zip(&outcome.scores) {
            *sum += share as f32 * score;
        }
    }
    line.gradient_norm = trainer.update(index + 1, moment.rates, options.decay, options.clip)?;
    line.seconds = clock.elapsed().as_secs_f64();
    Ok(line)
}

/// What is no number any more, as rates that are too large make it.
fn diverged(what: &str, step: u32) -> Error {
    Error::input(
        format!("{what} of step {step} is not a finite number"),
        "begin again with smaller rates, in another folder",
    )
}

/// A look at held-out texts on the way that they will be served, each task weighing the same.
pub fn evaluate(
    trainer: &mut Trainer<'_>,
    tasks: &Tasks,
    route: &Route,
    step: u32,
) -> Result<EvaluationLine> {
    let (mut loss, mut skip, mut masks) = (0.0, 0.0, BTreeSet::new());
    for texts in tasks.values() {
        for text in texts {
            let outcome = trainer.text(text, route, None)?;
            let share = 1.0 / (tasks.len() * texts.len()) as f64;
            loss += share * outcome.loss;
            skip += share * trainer.skip_rate(&outcome.mask);
            masks.insert(outcome.mask.to_string());
        }
    }
    if !loss.is_finite() {
        return Err(diverged("the loss of held-out texts", step));
    }
    Ok(EvaluationLine {
        step,
        heldout_loss: loss,
        heldout_skip: skip,
        heldout_masks: masks.len(),
    })
}

/// What a listener hears.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was made.
    Step(&'a StepLine),
    /// Held-out texts were looked at.
    Evaluation(&'a EvaluationLine),
}

/// Checks what the command line cannot.
fn must_learn(
    options: &RunOptions,
    served: &Route,
    begins_with: Option<&Router>,
    layers: usize,
) -> Result<()> {
    options.check()?;
    if options.learns_one_mask() && begins_with.is_some_and(Router::tells_apart) {
        return Err(Error::input(
            "routers that tell prompts apart are no beginning for one mask for all",
            "let their weights learn too (`--router-rate`), or begin without routers",
        ));
    }
    let Route::Fixed(mask) = served else {
        return Ok(());
    };
    let runs = |target: &Target| (0..layers).any(|layer| mask.runs(layer, target.sublayer()));
    if options.prefill.is_masked() && !options.lora()?.targets.iter().any(runs) {
        return Err(Error::input(
            "all that would learn is skipped",
            "skip less, or give other `--targets`",
        ));
    }
    Ok(())
}

/// Refuses a checkpoint of another run: of other options, or other digests of model and texts, and of held-out texts.
fn may_go_on(
    found: &Checkpoint,
    options: &RunOptions,
    [subject, held_out]: [&str; 2],
    folder: &Path,
) -> Result<()> {
    let differs = if found.options != *options {
        "with other options, another beginning or another teacher"
    } else if found.subject != subject {
        "on another model or other texts"
    } else if !found.held_out.is_empty() && found.held_out != held_out {
        // One log has looks at one set of texts.
        "that was looked at on other calibration examples"
    } else {
        return Ok(());
    };
    Err(Error::input(
        format!("{} holds a checkpoint of a run {differs}", folder.display()),
        "go on with the same command and files, or give another folder",
    ))
}

/// Looks at held-out texts.
#[derive(Clone, Copy)]
struct Looks<'a> {
    texts: &'a Tasks,
    served: &'a Route,
    /// Steps between them; 0 for none.
    every: u32,
    /// The step that the run ends with, which is looked at too.
    last: u32,
}

impl Looks<'_> {
    fn are_made(&self) -> bool {
        self.every > 0 && !self.texts.is_empty()
    }

    fn are_due(&self, after: u32) -> bool {
        self.are_made() && (after.is_multiple_of(self.every) || after == self.last)
    }

    fn look(
        &self,
        trainer: &mut Trainer<'_>,
        log: &mut Log,
        step: u32,
        listener: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let line = evaluate(trainer, self.texts, self.served, step)?;
        log.line(&line)?;
        // A request to stop is heard again at the next step.
        let _ = listener(Event::Evaluation(&line));
        Ok(())
    }
}

/// A trainer of these options, with nothing learned yet.
fn untrained<'a>(
    engine: &'a Engine,
    options: &RunOptions,
    texts: [&Tasks; 2],
    beginning: &Beginning<'_>,
) -> Result<Trainer<'a>> {
    // What no text needs would only take memory.
    let lengths = texts.into_iter().flat_map(BTreeMap::values).flatten();
    let longest = lengths.map(|text| text.ids.len() - 1).max();
    let tokens = options.tokens.min(longest.unwrap_or_default().max(2));
    let most = attention_keys_backward::most_tokens(&engine.gpu.class, engine.model.config.sizes());
    if tokens > most {
        return Err(Error::input(
            format!(
                "software Vulkan trains on texts of at most {most} tokens, found one of {tokens}"
            ),
            format!(
                "give `--tokens {most}` or less, which cuts longer texts, or another GPU with `--device`"
            ),
        ));
    }
    let trainer = Trainer::new(engine, options.lora()?, tokens, options.bias, options.seed)?
        .with_prefill(options.prefill)?
        .distil(options.distil, beginning.teacher)?;
    Ok(match beginning.router {
        Some(router) => trainer.protect(&router.protected),
        None => trainer,
    })
}

/// The log's first line.
fn header(engine: &Engine, options: &RunOptions, command: &str) -> Header {
    Header {
        first_wgpu_training: VERSION,
        command: command.to_owned(),
        model: engine.summary.name.clone(),
        layers: engine.model.config.layers,
        target: if options.routers_until > 0.0 {
            options.skip
        } else {
            0.0
        },
        steps: options.steps,
    }
}

/// Runs to the end, or until the listener breaks it off: then the last step is kept too, and the run can go on, with the look
/// that was due after it.
///
/// # Panics
/// If a teacher's adapter is given without its digest in the options, or the digest without it.
pub fn run<'a>(
    engine: &'a Engine,
    options: &RunOptions,
    [train, held_out]: [&Tasks; 2],
    beginning: Beginning<'_>,
    keeping: Keeping<'_>,
    listener: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Trainer<'a>> {
    assert_eq!(
        options.teacher.is_some(),
        beginning.teacher.is_some(),
        "a teacher's adapter and its digest"
    );
    let (layers, folder) = (engine.model.config.layers, keeping.folder);
    let served = options.served(layers)?;
    must_learn(options, &served, beginning.router, layers)?;
    let mut trainer = untrained(engine, options, [train, held_out], &beginning)?;
    std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    let looks = Looks {
        texts: held_out,
        served: &served,
        every: keeping.evaluate,
        last: options.steps,
    };
    let subject = digest_of(keeping.model_sha256, train);
    let texts = digest_of("held out", held_out);
    let mut looked = if looks.are_made() {
        texts.clone()
    } else {
        String::new()
    };
    // Whether the looks so far were at these.
    let mut same = false;
    let done = match Checkpoint::load(folder)? {
        Some(found) => {
            may_go_on(&found, options, [&subject, &texts], folder)?;
            trainer.restore(&found.snapshot)?;
            same = found.held_out == texts;
            if looked.is_empty() {
                looked = found.held_out;
            }
            found.step
        }
        None => {
            trainer.begin_with(beginning.router, beginning.adapter)?;
            0
        }
    };
    let mut log = Log::open(folder, &header(engine, options, keeping.command), done)?;
    // Make up for an evaluation that an interrupt left out.
    let missed = || Ok::<_, Error>(last_evaluation(folder)?.is_none_or(|line| line.step < done));
    if same && looks.are_due(done) && missed()? {
        looks.look(&mut trainer, &mut log, done, listener)?;
    }
    for index in done..options.steps {
        let line = step(&mut trainer, train, options, index, layers)?;
        log.line(&line)?;
        if options.hardens_after(index) {
            trainer.harden(options.skip)?;
        }
        let broken = listener(Event::Step(&line)).is_break();
        let after = index + 1;
        if looks.are_due(after) && !broken {
            looks.look(&mut trainer, &mut log, after, listener)?;
        }
        if after % keeping.checkpoint.max(1) == 0 || after == options.steps || broken {
            let snapshot = trainer.snapshot()?;
            if snapshot.values.iter().any(|value| !value.is_finite()) {
                return Err(diverged("what has learned", after));
            }
            log.sync()?;
            Checkpoint {
                step: after,
                subject: subject.clone(),
                held_out: looked.clone(),
                options: options.clone(),
                snapshot,
            }
            .save(folder)?;
        }
        if broken {
            return Err(Error::Cancelled);
        }
    }
    Ok(trainer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_take_turns() {
        let texts = |first: u32| {
            let text = |id| Tokens {
                ids: vec![id],
                answer: 0,
            };
            (first..first + 3).map(text).collect::<Vec<_>>()
        };
        let tasks = Tasks::from([("a".to_owned(), texts(0)), ("b".to_owned(), texts(10))]);
        let options = RunOptions {
            batch: 3,
            ..crate::train::schedule::tests::options()
        };
        let ids = (0..4).flat_map(|step| batch(&tasks, &options, step));
        let ids: Vec<u32> = ids.map(|text| text.ids[0]).collect();
        assert!(
            ids.chunks(2).all(|pair| pair[0] < 10 && pair[1] >= 10),
            "{ids:?}"
        );
        let mut round = ids[..6].to_vec();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2, 10, 11, 12]);
        let drawn = drawn(&[3, 3], options.batch, options.seed, 1);
        let drawn = drawn
            .iter()
            .map(|&(task, place)| 10 * task as u32 + place as u32);
        assert_eq!(
            drawn.collect::<BTreeSet<_>>(),
            ids[..3].iter().copied().collect()
        );
    }

    #[test]
    fn each_round_goes_through_all_texts_in_another_order() {
        let round = |round: usize| {
            (0..7)
                .map(|at| shuffled(7, 1, 7 * round + at, 5))
                .collect::<Vec<_>>()
        };
        for index in 0..3 {
            let mut sorted = round(index);
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(round(0), round(1));
        assert_eq!(round(2), round(2));
    }
}
