//! A GPU that is open: what it offers, and how work is handed to it.

use super::adapters::{adapters, called, choose, first_good, summary, wanted};
use super::cache::PipelineCache;
use super::failure::{Failure, guarded};
use super::pipeline::{Params, Pipeline, layout_entry};
use super::read_back::Ledger;
use super::reflect::BindingKind;
use super::shader::Variant;
use super::texture::Texel;
use super::tuning::Tuning;
use super::workers;
use crate::error::{Error, Result};
use crate::trace::GpuSummary;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What kernels are chosen by.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Smallest and largest subgroup, where subgroup operations may be used.
    pub subgroup: Option<(u32, u32)>,
    /// A driver that runs shaders on the CPU.
    pub software: bool,
    /// All of a shader's loops end together after 65,535 turns, as in Mesa's software driver: what would come behind is
    /// missing, and nothing tells of it.
    pub loops_end: bool,
    /// Memory shared with the CPU.
    pub integrated: bool,
    /// Run-time values pushed with the commands rather than read from a uniform buffer.
    pub immediates: bool,
    /// GPU timestamps at pass boundaries.
    pub timestamps: bool,
    /// Textures as wide as those that hold weights.
    pub wide_textures: bool,
    /// Which candidates are used.
    pub tuning: Tuning,
}

impl Class {
    /// Whether kernels use the `*_subgroup` shader modules, which are written for a workgroup of 8 that is
    /// one subgroup on a driver that runs shaders on the CPU.
    pub fn one_subgroup(&self) -> bool {
        self.tuning.one_subgroup
    }

    /// This class with workgroups of many invocations everywhere, for kernels that have no others.
    pub(crate) fn wide(self) -> Self {
        let tuning = Tuning {
            one_subgroup: false,
            ..self.tuning
        };
        Self { tuning, ..self }
    }

    /// The class of a software driver, for tests that compose shaders without a device.
    pub fn software_example() -> Self {
        Self {
            subgroup: Some((8, 8)),
            software: true,
            loops_end: true,
            tuning: Tuning::of(Some((8, 8)), true),
            ..Self::gpu_example()
        }
    }

    /// The class of a GPU that offers only what WebGPU guarantees.
    pub fn gpu_example() -> Self {
        Self {
            subgroup: None,
            software: false,
            loops_end: false,
            integrated: true,
            immediates: false,
            timestamps: false,
            wide_textures: true,
            tuning: Tuning::of(None, false),
        }
    }
}

/// What was asked of a device since it was opened: regressions show in counts long before they show in
/// noisy times.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) buffers: AtomicU64,
    pub(super) bind_groups: AtomicU64,
    pub(super) submissions: AtomicU64,
    pub(super) read_back_bytes: AtomicU64,
    pub(super) pipelines: AtomicU64,
}

/// What [`Counters`] have counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Buffers created.
    pub buffers: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Command buffers submitted.
    pub submissions: u64,
    /// Bytes copied back to the host.
    pub read_back_bytes: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn now(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            buffers: count(&self.buffers),
            bind_groups: count(&self.bind_groups),
            submissions: count(&self.submissions),
            read_back_bytes: count(&self.read_back_bytes),
            pipelines: count(&self.pipelines),
        }
    }
}

/// An open device.
pub struct Gpu {
    /// What it is.
    pub summary: GpuSummary,
    /// What it offers.
    pub class: Class,
    /// What was asked of it.
    pub counters: Counters,
    /// Whether a stored tuning is in use.
    pub tuned: bool,
    /// Why a better GPU, or a stored tuning, was passed over, and what else makes work take longer, a line each.
    pub ignored: Vec<String>,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(super) ledger: Arc<Ledger>,
    pub(super) params_layout: wgpu::BindGroupLayout,
    pub(super) pipeline_cache: Option<PipelineCache>,
    pipelines: Mutex<HashMap<Variant, Arc<Pipeline>>>,
    failure: Arc<Mutex<Option<Failure>>>,
    submitted: Mutex<Option<wgpu::SubmissionIndex>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// All GPUs, in the order of their index.
    pub fn list() -> Vec<GpuSummary> {
        adapters()
            .iter()
            .map(|adapter| summary(&adapter.get_info()))
            .collect()
    }

    /// Opens a GPU: by index, by a part of its name or backend (any case), or the best one. Nothing that was kept
    /// of earlier runs is used.
    pub fn open(selector: Option<&str>) -> Result<Self> {
        Self::open_with(selector, None)
    }

    /// Like [`Gpu::open`], with the tuning and the compiled pipelines of `cache`, a folder.
    pub fn open_with(selector: Option<&str>, cache: Option<&Path>) -> Result<Self> {
        let adapters = adapters();
        if adapters.is_empty() {
            return Err(Error::gpu(
                "no GPU was found that runs Vulkan, Metal or DirectX 12",
                "install your GPU's driver, or Mesa's software one (Debian, Ubuntu: `apt install libvulkan1 mesa-vulkan-drivers`)",
            ));
        }
        let open = |adapter: &wgpu::Adapter| Self::with_adapter(adapter, cache);
        let Some(text) = selector else {
            let (mut gpu, wrong) = first_good(&adapters, open)?;
            if let Some(error) = wrong {
                let why = format!("{} is used: {}", gpu.summary.name, error.message());
                gpu.ignored.insert(0, why);
            }
            return Ok(gpu);
        };
        let names: Vec<_> = adapters.iter().map(called).collect();
        let index = choose(text, &names).ok_or_else(|| {
            Error::input(
                format!("no GPU matches `{text}` among {}", adapters.len()),
                "run `first devices` and give an index, or a part of a name or backend",
            )
        })?;
        open(&adapters[index])
    }

    fn with_adapter(adapter: &wgpu::Adapter, cache: Option<&Path>) -> Result<Self> {
        let info = adapter.get_info();
        let (features, limits) = wanted(adapter);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("first"),
            required_features: features,
            required_limits: limits,
            ..Default::default()
        };
        let opened = workers::start(|| pollster::block_on(adapter.request_device(&descriptor)));
        let (device, queue) = opened.map_err(|error| {
            Error::gpu(
                format!("{} could not be opened: {error}", info.name),
                "try another one with `--device`",
            )
        })?;

        let failure = Failure::of(&device);
        let has = |feature| features.contains(feature);
        let subgroup = has(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size));
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let mut class = Class {
            subgroup,
            software,
            loops_end: info.driver == "llvmpipe",
            integrated: info.device_type == wgpu::DeviceType::IntegratedGpu,
            immediates: has(wgpu::Features::IMMEDIATES)
                && std::env::var_os("FIRST_NO_IMMEDIATES").is_none(),
            timestamps: has(wgpu::Features::TIMESTAMP_QUERY),
            wide_textures: device.limits().max_texture_dimension_2d >= Texel::One.width(),
            tuning: Tuning::of(subgroup, software),
        };
        let params_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("params"),
            entries: &[layout_entry(0, BindingKind::Uniform, true)],
        });
        let summary = summary(&info);
        let (mut tuned, mut ignored) = (false, Vec::new());
        if software && let Err(error) = workers::spread() {
            ignored.push(format!(
                "the driver's threads may share CPUs, which takes longer: they could not be told apart ({error})"
            ));
        }
        if let Some(folder) = cache {
            let (tuning, why) = Tuning::load(folder, &summary, &class);
            class.tuning = tuning.unwrap_or(class.tuning);
            tuned = tuning.is_some();
            ignored.extend(why);
        }
        let pipeline_cache = cache
            .filter(|_| has(wgpu::Features::PIPELINE_CACHE))
            .and_then(|folder| PipelineCache::open(&device, &info, folder));
        Ok(Self {
            summary,
            class,
            counters: Counters::default(),
            tuned,
            ignored,
            ledger: Arc::new(Ledger::new(&device, &queue)),
            device,
            queue,
            params_layout,
            pipeline_cache,
            pipelines: Mutex::default(),
            failure,
            submitted: Mutex::default(),
        })
    }

    /// The pipeline of a variant, made on first use.
    pub fn pipeline<P: Params>(&self, variant: Variant) -> Result<Arc<Pipeline>> {
        if let Some(pipeline) = lock(&self.pipelines).get(&variant) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(Pipeline::new::<P>(self, &variant)?);
        self.check_lost()?;
        Counters::add(&self.counters.pipelines, 1);
        lock(&self.pipelines).insert(variant, pipeline.clone());
        Ok(pipeline)
    }

    /// The most bytes that one storage binding may hold.
    pub fn binding_bytes(&self) -> u64 {
        let limits = self.device.limits();
        limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size)
    }

    /// The most bytes of weights in one binding: what every GPU allows, and a texture has room for.
    pub fn slice_bytes(&self) -> u64 {
        self.binding_bytes().min(128 << 20)
    }

    /// How many floating-point operations of products one submission may hold, which is meant to stay well under half a
    /// second on a slow laptop: Windows and some drivers reset a GPU that is busy for two.
    pub fn submission_flops(&self) -> u64 {
        match (self.class.software, self.class.integrated) {
            (true, _) => 8_000_000_000,
            (_, true) => 20_000_000_000,
            _ => 200_000_000_000,
        }
    }

    /// How many operations of a product take about as long as one of attention over a prompt: on an H200 4 to 16, with
    /// earlier tiles and too few tokens to fill it (`benches/results/nvidia-h200/kernels.json`). Software Vulkan has no
    /// watchdog.
    pub fn attention_effort(&self) -> u64 {
        if self.class.software { 1 } else { 8 }
    }

    /// A list of commands to record into.
    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&Default::default())
    }

    /// Hands recorded commands to the driver.
    pub(crate) fn submit(&self, mut encoder: wgpu::CommandEncoder) {
        Counters::add(&self.counters.submissions, 1);
        // Held meanwhile, lest another thread's submission be taken for this one.
        let mut submitted = lock(&self.submitted);
        self.ledger.end(&mut encoder);
        *submitted = Some(self.queue.submit([encoder.finish()]));
    }

    /// What was submitted last.
    pub(super) fn last_submission(&self) -> Option<wgpu::SubmissionIndex> {
        lock(&self.submitted).clone()
    }

    /// Has uploads done, and frees the memory that they were staged in.
    pub(crate) fn flush(&self) -> Result<()> {
        self.submit(self.encoder());
        self.wait()
    }

    /// Waits for all submitted work.
    pub(crate) fn wait(&self) -> Result<()> {
        self.wait_for(None)
    }

    /// Waits for a submission and those before it, not for later ones; without one, for all.
    pub(super) fn wait_for(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.check_lost()?;
        let wait = wgpu::PollType::Wait {
            submission_index: submission,
            timeout: None,
        };
        // wgpu panics where a device is lost meanwhile; but first it tells the callback, which knows more.
        let waited = guarded(|| self.device.poll(wait));
        self.check_lost()?;
        let error = match waited {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        Err(self.lost(&format!("waiting for the GPU failed: {error}")))
    }

    /// The error of a lost device.
    pub(super) fn lost(&self, message: &str) -> Error {
        // Drivers and wgpu write paragraphs; an error is one line.
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Error::gpu(
            format!("{}: {message}", self.summary.name),
            "try again; if it stays, use a smaller model or another GPU (`--device`)",
        )
    }

    /// Counts a submission that is never made, as a driver that drops one without a word; for tests.
    #[doc(hidden)]
    pub fn drop_submission(&self) {
        self.ledger.count();
    }

    /// Loses the device, as a driver that resets does; for tests.
    #[doc(hidden)]
    pub fn lose(&self) {
        self.device.destroy();
        lock(&self.failure).get_or_insert_with(|| Failure::lost("destroyed for a test"));
    }

    /// An error if the device was lost or refused something.
    pub fn check_lost(&self) -> Result<()> {
        match &*lock(&self.failure) {
            None => Ok(()),
            Some(Failure { message, .. }) => Err(self.lost(message)),
        }
    }

    pub(super) fn check_memory(&self, label: &str, size: u64) -> Result<()> {
        let memory = lock(&self.failure).as_ref().is_some_and(|it| it.memory);
        if !memory {
            return self.check_lost();
        }
        Err(Error::gpu(
            format!(
                "{}: no memory for `{label}` ({} MiB)",
                self.summary.name,
                size >> 20
            ),
            "use a smaller model, a shorter context (`--context`), or another entry of `first devices` (`--device`)",
        ))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let made = !lock(&self.pipelines).is_empty();
        if let Some(cache) = self.pipeline_cache.as_ref().filter(|_| made) {
            // If that fails the next run compiles again: nothing that a user must know of.
            let _ = cache.keep();
        }
    }
}
