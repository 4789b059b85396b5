//! What runs on the worker's thread.

use super::{Outcome, Progress, Setup, lock};
use crate::job::{Choice, Job, Options, threshold_text};
use crate::prompts::Prompt;
use eframe::egui::Context;
use first_wgpu::engine::{Engine, Event, LoadOptions, Policy, Request};
use first_wgpu::gpu::failure;
use first_wgpu::mask::{LayerMask, PrefillReading};
use first_wgpu::model::config::Config;
use first_wgpu::pull;
use first_wgpu::router::Decision;
use first_wgpu::router::file::{BaseModel, Decides, RouterFile};
use first_wgpu::trace::{Run, Sampling};
use first_wgpu::weights::gguf::Gguf;
use first_wgpu::{Error, Result};
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The window is told of news at most this often.
const BATCH: Duration = Duration::from_millis(50);

pub(super) struct Thread {
    setup: Setup,
    context: Context,
    stop: Arc<AtomicBool>,
    progress: Arc<Mutex<Progress>>,
}

/// A model on a GPU, and its router.
pub(super) struct Loaded {
    pub(super) engine: Engine,
    routed: Option<Policy>,
}

impl Loaded {
    /// How prompts are read under the policy that was loaded.
    pub(super) fn prefill(&self) -> PrefillReading {
        let routed = self.routed.as_ref();
        routed.map_or(PrefillReading::Masked, |policy| self.engine.reading(policy))
    }

    /// The policy of a choice, and what traces call it.
    pub(super) fn policy(&self, choice: &Choice) -> Result<(Policy, String)> {
        let layers = self.engine.model.config.layers;
        let routed = || {
            self.routed.clone().ok_or_else(|| {
                Error::input(
                    "no router is loaded",
                    "start the viewer with `--router DIR`",
                )
            })
        };
        Ok(match choice {
            Choice::Full => Policy::fixed(LayerMask::full(layers).into()),
            Choice::Mask(masking) if masking.mask.layers() != layers => {
                let found = masking.mask.layers();
                return Err(Error::input(
                    format!("the mask is of {found} layers, the model has {layers}"),
                    "begin from a run of this model",
                ));
            }
            Choice::Mask(masking) => Policy::fixed(masking.clone()),
            Choice::Routed => (routed()?, "routed".to_owned()),
            Choice::RoutedAt(threshold) => match routed()? {
                Policy::Routed(decision) => {
                    let decision: Decision = decision.with_threshold(*threshold);
                    let name = format!("routed at {}", threshold_text(*threshold));
                    (Policy::Routed(decision), name)
                }
                _ => {
                    return Err(Error::input(
                        "a fixed mask has no threshold",
                        "start the viewer with routers (`--router DIR`)",
                    ));
                }
            },
        })
    }

    /// What is asked of the engine for a prompt.
    pub(super) fn request(&self, prompt: &str, options: &Options) -> Result<Request> {
        let ids = self.engine.prompt_ids(prompt, options.chat)?;
        self.request_of(prompt, ids, options)
    }

    /// The same for the prompt of a run. Its tokens are of its model: to another, only its text says something.
    fn again(&self, run: &Run, options: Options) -> Result<Request> {
        if run.model == self.engine.summary && !run.prompt_ids.is_empty() {
            let options = Options {
                sampling: run.sampling.clone(),
                ..options
            };
            return self.request_of(&run.prompt, run.prompt_ids.clone(), &options);
        }
        if run.prompt.is_empty() {
            return Err(Error::input(
                "this run has no prompt that the model could read",
                "begin from another run",
            ));
        }
        self.request(&run.prompt, &options)
    }

    fn request_of(&self, prompt: &str, ids: Vec<u32>, options: &Options) -> Result<Request> {
        let (policy, policy_name) = self.policy(&options.choice)?;
        Ok(Request {
            prompt: prompt.to_owned(),
            policy_name,
            sampling: options.sampling.clone(),
            detail: options.detail,
            stop_at_end: true,
            ..Request::new(ids, policy, options.max_tokens)
        })
    }
}

impl Thread {
    pub(super) fn new(
        setup: Setup,
        context: Context,
        stop: Arc<AtomicBool>,
        progress: Arc<Mutex<Progress>>,
    ) -> Self {
        Self {
            setup,
            context,
            stop,
            progress,
        }
    }

    pub(super) fn tell(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.progress));
        self.context.request_repaint_after(BATCH);
    }

    /// Says how far a job is; interrupts it if the user has stopped it.
    pub(super) fn report(&self, doing: &str, done: usize, total: usize) -> Result<()> {
        self.tell(|progress| {
            progress.doing = doing.to_owned();
            progress.share = (done, total);
        });
        if self.stopped() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether an answer goes on.
    pub(super) fn flow(&self) -> ControlFlow<()> {
        if self.stopped() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Takes jobs until the window is closed. A GPU that was lost takes the engine with it; the next job
    /// loads the model anew.
    pub(super) fn run(&self, jobs: &Receiver<(u64, Job)>) {
        let mut loaded = None;
        let result = guarded(|| self.ensure(&mut loaded).map(|_| ()));
        self.rest(result.err());
        while let Ok((session, job)) = jobs.recv() {
            let result = guarded(|| self.work(self.ensure(&mut loaded)?, session, job));
            if matches!(result, Err(Error::Gpu { .. })) {
                loaded = None;
            }
            self.rest(result.err());
        }
    }

    /// Loads the model unless it is loaded. Once that has worked it may be tried again, whatever happens.
    fn ensure<'a>(&self, loaded: &'a mut Option<Loaded>) -> Result<&'a mut Loaded> {
        if loaded.is_none() {
            self.tell(|progress| progress.loading = true);
            *loaded = Some(self.load()?);
            self.tell(|progress| {
                progress.loading = false;
                progress.ready = true;
            });
        }
        Ok(loaded.as_mut().expect("it was just loaded"))
    }

    fn rest(&self, error: Option<Error>) {
        self.tell(|progress| {
            progress.doing.clear();
            progress.share = (0, 0);
            progress.busy = false;
            // It may have failed.
            progress.loading = false;
            if let Some(error) = error.filter(|error| !matches!(error, Error::Cancelled)) {
                progress.error = Some(error.to_string());
            }
        });
    }

    pub(super) fn finish(&self, outcome: Outcome) {
        self.tell(|progress| progress.outcomes.push(outcome));
    }

    fn work(&self, loaded: &mut Loaded, session: u64, job: Job) -> Result<()> {
        match job {
            Job::Prompts(prompts, options) => self.run_prompts(loaded, session, prompts, &options),
            Job::Again(run, options) => {
                let request = loaded.again(&run, options)?;
                let run = self.answer(loaded, &request, run.tag)?;
                self.finish(Outcome::Run {
                    session,
                    run: Box::new(run),
                    of_set: false,
                });
                Ok(())
            }
            Job::Controls(prompts, options) => self.controls(loaded, session, &prompts, &options),
            Job::LoseGpu => {
                loaded.engine.gpu.lose();
                Ok(())
            }
            Job::Agreement(index, run) => {
                let agreement = self.agreement(loaded, index, &run)?;
                self.finish(Outcome::Agreement { session, agreement });
                Ok(())
            }
        }
    }

    /// Runs prompts one after the other. One that cannot be read says nothing of the others: they go on.
    fn run_prompts(
        &self,
        loaded: &mut Loaded,
        session: u64,
        prompts: Vec<Prompt>,
        options: &Options,
    ) -> Result<()> {
        loaded.policy(&options.choice)?;
        let total = prompts.len();
        let mut refused = Vec::new();
        for (index, prompt) in prompts.into_iter().enumerate() {
            if total > 1 {
                self.report("running", index, total)?;
            }
            let request = loaded.request(&prompt.text, options);
            match request.and_then(|request| self.answer(loaded, &request, prompt.tag)) {
                Ok(run) => self.finish(Outcome::Run {
                    session,
                    run: Box::new(run),
                    of_set: total > 1,
                }),
                Err(error @ Error::Input { .. }) if total > 1 => {
                    refused.push(numbered(error, index, total));
                    self.tell(|progress| progress.error = told(&refused));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn load(&self) -> Result<Loaded> {
        let share = |what: &str, done: u64, total: u64| {
            let percent = 100 * done / total.max(1);
            self.tell(|progress| progress.doing = format!("{what} {percent} %"));
        };
        let setup = &self.setup;
        let model = match &setup.model {
            Some(path) => path.clone(),
            None => pull::default_model(&mut |done, total| {
                share("fetching the default model", done, total);
            })?,
        };
        let router = match &setup.router {
            Some(folder) => Some(router(folder, &model)?),
            None => None,
        };
        let options = LoadOptions {
            device: setup.device.clone(),
            adapter: setup.adapter.clone(),
            cache: setup.cache.clone(),
            context: setup.context,
            model,
            ..Default::default()
        };
        let mut engine = Engine::load(&options, &mut |done, total| share("loading", done, total))?;
        let routed = match router.as_ref().map(|file| &file.decides) {
            Some(Decides::Routers(router)) => {
                engine.set_router(router)?;
                Some(Policy::Routed(router.decision()))
            }
            Some(Decides::Mask(masking)) => Some(Policy::Fixed(masking.clone())),
            None => None,
        };
        self.tell(|progress| progress.doing = "preparing the kernels".to_owned());
        let everything = Policy::Fixed(LayerMask::full(engine.model.config.layers).into());
        engine.warm_up(routed.as_ref().unwrap_or(&everything), &Sampling::default())?;
        if let Some(file) = router {
            self.tell(|progress| progress.has_router = true);
            self.finish(Outcome::Router {
                model: engine.summary.clone(),
                calibration: file.calibration,
            });
        }
        Ok(Loaded { engine, routed })
    }

    /// Answers a prompt; the window hears of each token. Stopping ends the answer where it is.
    fn answer(&self, loaded: &mut Loaded, request: &Request, tag: Option<String>) -> Result<Run> {
        self.tell(|progress| {
            progress.answer.clear();
            progress.tokens = 0;
        });
        let clock = Instant::now();
        let mut first = None;
        let mut run = loaded.engine.generate(request, &mut |event| {
            self.tell(|progress| match event {
                Event::Prefill(done, layers) => {
                    progress.doing = format!("reading the prompt, layer {done} of {layers}");
                }
                Event::Mask(..) => progress.doing = "answering".to_owned(),
                Event::Token(_, text) => {
                    progress.answer.push_str(text);
                    progress.tokens += 1;
                    let now = clock.elapsed().as_secs_f32();
                    progress.ttft = *first.get_or_insert(now);
                    progress.seconds = now - progress.ttft;
                }
            });
            self.flow()
        })?;
        run.tag = tag;
        Ok(run)
    }
}

/// What was wrong with a prompt, and which of the set it is.
pub(super) fn numbered(error: Error, index: usize, total: usize) -> Error {
    match error {
        Error::Input { message, remedy } => Error::Input {
            message: format!("prompt {} of {total}: {message}", index + 1),
            remedy,
        },
        other => other,
    }
}

/// The first of the prompts that were refused, and how many were besides.
fn told(refused: &[Error]) -> Option<String> {
    let (first, others) = refused.split_first()?;
    Some(match others.len() {
        0 => first.to_string(),
        1 => format!("{first} (1 other prompt was refused too)"),
        count => format!("{first} ({count} other prompts were refused too)"),
    })
}

/// Does what may panic deep in a driver's bindings: the window would wait for ever.
fn guarded(work: impl FnOnce() -> Result<()>) -> Result<()> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = failure::message(panic.as_ref());
        Err(Error::gpu(
            format!("the engine stopped: {what}"),
            "try again, which loads the model anew; if it stays, use another GPU (`--device`)",
        ))
    })
}

/// A router that fits the model, checked before any of it is on the GPU.
fn router(folder: &Path, model: &Path) -> Result<RouterFile> {
    let file = RouterFile::load(folder)?;
    let config = Config::from_gguf(&Gguf::open(model)?)?;
    file.check(&BaseModel {
        sha256: pull::sha256(model)?,
        name: config.name,
        layers: config.layers,
        hidden: config.hidden,
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_message() {
        let error = guarded(|| panic!("layer {} is on fire", 3)).expect_err("it panicked");
        let text = error.to_string();
        assert!(text.contains("layer 3 is on fire") && text.contains("try again"));
        assert!(matches!(error, Error::Gpu { .. }), "the engine is dropped");
        assert!(guarded(|| Ok(())).is_ok());
    }

    /// Closing waits for no model that loads, but for all else.
    #[test]
    fn a_model_that_cannot_be_loaded_is_loading_no_more() {
        let progress = Arc::default();
        let setup = Setup {
            model: Some("nowhere.gguf".into()),
            ..Setup::default()
        };
        let thread = Thread::new(
            setup,
            Context::default(),
            Arc::default(),
            Arc::clone(&progress),
        );
        let error = guarded(|| thread.ensure(&mut None).map(|_| ())).err();
        assert!(error.is_some() && lock(&progress).loading);
        thread.rest(error);
        let progress = lock(&progress);
        assert!(!progress.loading && !progress.ready);
    }

    #[test]
    fn a_stopped_answer_goes_on_no_further() {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::default();
        let thread = Thread::new(Setup::default(), Context::default(), stop.clone(), progress);
        assert!(thread.flow().is_continue());
        stop.store(true, Ordering::Relaxed);
        assert!(thread.flow().is_break());
        assert!(matches!(
            thread.report("timing", 0, 1),
            Err(Error::Cancelled)
        ));
    }
}
