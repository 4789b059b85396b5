//! The engine on a thread of its own, so that the window never waits for a GPU.

use eframe::egui::Context;
use first_wgpu::engine::{Engine, Event, LoadOptions, Policy, Request};
use first_wgpu::mask::LayerMask;
use first_wgpu::model::config::Config;
use first_wgpu::pull;
use first_wgpu::router::file::{BaseModel, RouterFile};
use first_wgpu::trace::{Detail, Run, Sampling};
use first_wgpu::weights::gguf::Gguf;
use first_wgpu::{Error, Result};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What to load.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// A GGUF file; the default model, fetched on first use, without one.
    pub model: Option<PathBuf>,
    /// A router folder.
    pub router: Option<PathBuf>,
    /// Adapter by index or part of its name.
    pub device: Option<String>,
}

/// What the mask of a run comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// All layers.
    Full,
    /// The router of [`Setup`].
    Routed,
    /// This mask.
    Mask(LayerMask),
}

/// One prompt to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The prompt.
    pub prompt: String,
    /// Whether it goes through the chat template.
    pub chat: bool,
    /// Where the mask comes from.
    pub choice: Choice,
    /// The most tokens of the answer.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// How finely to time it.
    pub detail: Detail,
}

/// What the worker is doing, for the window to show.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// `loading 45 %`, `reading the prompt`; empty when idle.
    pub doing: String,
    /// The answer so far.
    pub answer: String,
    /// Its tokens.
    pub tokens: usize,
    /// Seconds since its first token.
    pub seconds: f32,
    /// Runs that ended since they were last taken.
    pub finished: Vec<Run>,
    /// What went wrong last, and what to do.
    pub error: Option<String>,
    /// Whether a router is loaded.
    pub has_router: bool,
    /// Whether jobs are taken: a model is loaded.
    pub ready: bool,
    /// Whether a job runs.
    pub busy: bool,
}

/// The window is told of news at most this often.
const BATCH: Duration = Duration::from_millis(50);

/// A handle to the thread.
pub struct Worker {
    jobs: Sender<Job>,
    stop: Arc<AtomicBool>,
    progress: Arc<Mutex<Progress>>,
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// Starts the thread, which loads the model at once.
    pub fn start(setup: Setup, context: Context) -> Self {
        let (jobs, queue) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Mutex::new(Progress {
            doing: "opening the model".to_owned(),
            ..Default::default()
        }));
        let thread = Thread {
            context,
            stop: stop.clone(),
            progress: progress.clone(),
        };
        std::thread::spawn(move || thread.run(&setup, &queue));
        Self {
            jobs,
            stop,
            progress,
        }
    }

    /// Queues a job.
    pub fn send(&self, job: Job) {
        self.stop.store(false, Ordering::Relaxed);
        let mut progress = lock(&self.progress);
        progress.busy = true;
        progress.error = None;
        progress.answer.clear();
        progress.tokens = 0;
        if self.jobs.send(job).is_err() {
            progress.busy = false;
            progress.error = Some("the engine has ended; restart the viewer".to_owned());
        }
    }

    /// Asks the running job to end after its next token.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What there is to show; finished runs are handed over once.
    pub fn progress(&self) -> Progress {
        let mut progress = lock(&self.progress);
        let finished = std::mem::take(&mut progress.finished);
        Progress {
            finished,
            ..progress.clone()
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Thread {
    context: Context,
    stop: Arc<AtomicBool>,
    progress: Arc<Mutex<Progress>>,
}

impl Thread {
    fn tell(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.progress));
        self.context.request_repaint_after(BATCH);
    }

    fn run(&self, setup: &Setup, jobs: &Receiver<Job>) {
        let mut engine = match self.load(setup) {
            Ok(engine) => engine,
            Err(error) => {
                return self.tell(|progress| {
                    progress.doing.clear();
                    progress.busy = false;
                    progress.error = Some(error.to_string());
                });
            }
        };
        while let Ok(job) = jobs.recv() {
            let result = self.answer(&mut engine, job);
            self.tell(|progress| {
                progress.doing.clear();
                progress.busy = false;
                match result {
                    Ok(run) => progress.finished.push(run),
                    Err(Error::Cancelled) => {}
                    Err(error) => progress.error = Some(error.to_string()),
                }
            });
        }
    }

    fn load(&self, setup: &Setup) -> Result<Loaded> {
        let share = |what: &str, done: u64, total: u64| {
            let percent = 100 * done / total.max(1);
            self.tell(|progress| progress.doing = format!("{what} {percent} %"));
        };
        let model = match &setup.model {
            Some(path) => path.clone(),
            None => pull::default_model(&mut |done, total| {
                share("fetching the default model", done, total);
            })?,
        };
        let router = match &setup.router {
            Some(folder) => Some(self.router(folder, &model)?),
            None => None,
        };
        let options = LoadOptions {
            device: setup.device.clone(),
            model,
            ..Default::default()
        };
        let mut engine = Engine::load(&options, &mut |done, total| share("loading", done, total))?;
        let routed = match &router {
            None => None,
            Some(file) => match (file.fixed_mask(), &file.router) {
                (None, Some(router)) => {
                    engine.set_router(router)?;
                    Some(Policy::Routed(router.decision()))
                }
                (mask, _) => mask.map(Policy::Fixed),
            },
        };
        self.tell(|progress| {
            progress.doing.clear();
            progress.ready = true;
            progress.has_router = routed.is_some();
        });
        Ok(Loaded { engine, routed })
    }

    /// A router that fits the model, checked before any of it is on the GPU.
    fn router(&self, folder: &std::path::Path, model: &std::path::Path) -> Result<RouterFile> {
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

    fn answer(&self, loaded: &mut Loaded, job: Job) -> Result<Run> {
        let engine = &mut loaded.engine;
        let layers = engine.model.config.layers;
        let (policy, policy_name) = match job.choice {
            Choice::Full => (Policy::Fixed(LayerMask::full(layers)), "none".to_owned()),
            Choice::Mask(mask) if mask.layers() != layers => {
                return Err(Error::input(
                    format!(
                        "the mask is of {} layers, the model has {layers}",
                        mask.layers()
                    ),
                    "begin from a run of this model",
                ));
            }
            Choice::Mask(mask) => {
                let name = format!("fixed:{mask}");
                (Policy::Fixed(mask), name)
            }
            Choice::Routed => {
                let policy = loaded.routed.clone().ok_or_else(|| {
                    Error::input(
                        "no router is loaded",
                        "start the viewer with `--router DIR`",
                    )
                })?;
                (policy, "routed".to_owned())
            }
        };
        let request = Request {
            ids: engine.prompt_ids(&job.prompt, job.chat)?,
            prompt: job.prompt,
            policy,
            policy_name,
            max_tokens: job.max_tokens,
            sampling: job.sampling,
            detail: job.detail,
            stop_at_end: true,
        };
        let mut first = None;
        engine.generate(&request, &mut |event| {
            self.tell(|progress| match event {
                Event::Prefill(done, layers) => {
                    progress.doing = format!("reading the prompt, layer {done} of {layers}");
                }
                Event::Mask(..) => progress.doing = "answering".to_owned(),
                Event::Token(_, text) => {
                    progress.answer.push_str(text);
                    progress.tokens += 1;
                    let first = *first.get_or_insert_with(std::time::Instant::now);
                    progress.seconds = first.elapsed().as_secs_f32();
                }
            });
            match self.stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }
}

struct Loaded {
    engine: Engine,
    routed: Option<Policy>,
}
