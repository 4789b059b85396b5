//! The engine on a thread of its own, so that the window never waits for a GPU.

mod agreement;
mod controls;
mod thread;

use crate::job::Job;
use crate::session::{Agreement, Control, Measured};
use eframe::egui::Context;
use first_wgpu::router::CalibrationPoint;
use first_wgpu::trace::{ModelSummary, Run};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What to load.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// A GGUF file; the default model, fetched on first use, without one.
    pub model: Option<PathBuf>,
    /// A router folder.
    pub router: Option<PathBuf>,
    /// A folder with a LoRA adapter.
    pub adapter: Option<PathBuf>,
    /// The GPU, by index, or part of its name or backend.
    pub device: Option<String>,
    /// The longest conversation in tokens, if it is not the usual one.
    pub context: Option<usize>,
    /// Where tuned kernels and compiled pipelines are kept, if they are.
    pub cache: Option<PathBuf>,
}

/// Something the worker has finished.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A prompt was answered.
    Run {
        /// The session that it was asked for, as [`Worker::send`] was told.
        session: u64,
        /// What ran.
        run: Box<Run>,
        /// Whether it is one of several.
        of_set: bool,
    },
    /// A run was compared with the full model.
    Agreement {
        /// The session that has the run.
        session: u64,
        /// What was measured.
        agreement: Agreement,
    },
    /// Policies were compared at the same rate.
    Controls {
        /// The session that it was asked for.
        session: u64,
        /// What was measured.
        controls: Vec<Control>,
        /// Of what.
        of: Measured,
    },
    /// A router was loaded.
    Router {
        /// The model that it is of.
        model: ModelSummary,
        /// What its thresholds skip; empty where its file does not say.
        calibration: Vec<CalibrationPoint>,
    },
}

/// What the worker is doing, for the window to show.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// `loading 45 %`, `reading the prompt`; empty when idle.
    pub doing: String,
    /// Pieces done of the job, and pieces in all; 0 of 0 where it is one piece.
    pub share: (usize, usize),
    /// The answer so far.
    pub answer: String,
    /// Its tokens.
    pub tokens: usize,
    /// Seconds from the start of the answer to its first token.
    pub ttft: f32,
    /// Seconds since its first token.
    pub seconds: f32,
    /// What ended since it was last taken.
    pub outcomes: Vec<Outcome>,
    /// What went wrong last, and what to do.
    pub error: Option<String>,
    /// Whether a router is loaded.
    pub has_router: bool,
    /// Whether jobs are taken: a model is loaded, or can be loaded again.
    pub ready: bool,
    /// Whether a model is being loaded, at first or anew.
    pub loading: bool,
    /// Whether a job runs.
    pub busy: bool,
}

/// A handle to the thread.
pub struct Worker {
    /// Taken when the worker is to end.
    jobs: Option<Sender<(u64, Job)>>,
    thread: Option<JoinHandle<()>>,
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
        let progress = Arc::new(Mutex::new(Progress::default()));
        let thread = thread::Thread::new(setup, context, stop.clone(), progress.clone());
        let thread = std::thread::spawn(move || thread.run(&queue));
        Self {
            jobs: Some(jobs),
            thread: Some(thread),
            stop,
            progress,
        }
    }

    /// Queues a job for a session, whose number comes back with what the job finds.
    pub fn send(&self, session: u64, job: Job) {
        self.stop.store(false, Ordering::Relaxed);
        let mut progress = lock(&self.progress);
        progress.busy = true;
        progress.error = None;
        progress.answer.clear();
        progress.tokens = 0;
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send((session, job)).is_ok());
        if !sent {
            progress.busy = false;
            progress.ready = false;
            progress.error = Some("the engine has ended; restart the viewer".to_owned());
        }
    }

    /// Asks the running job to end after its next token; what it has finished stays.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Forgets what went wrong last, unless it is why no job is taken.
    pub fn forget_error(&self) {
        let mut progress = lock(&self.progress);
        if progress.ready {
            progress.error = None;
        }
    }

    /// What there is to show; outcomes are handed over once.
    pub fn progress(&self) -> Progress {
        let mut progress = lock(&self.progress);
        let outcomes = std::mem::take(&mut progress.outcomes);
        Progress {
            outcomes,
            ..progress.clone()
        }
    }
}

/// A driver must not be at work while the program ends. A model that is still being loaded, or fetched, is not
/// waited for.
impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
        self.jobs = None;
        let progress = lock(&self.progress);
        let waited = progress.ready && !progress.loading;
        drop(progress);
        if let Some(thread) = self.thread.take().filter(|_| waited) {
            // It has caught its panics itself.
            let _ = thread.join();
        }
    }
}
