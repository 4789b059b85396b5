//! The engine: a model on a GPU, and prompts that go through it.
//!
//! [`Engine::generate`] prefills a prompt layer by layer, lets the policy decide each layer's bits before
//! the layer is encoded, then decodes under the mask that came out. Nothing that is masked is encoded.

mod decode;
pub mod inspect;
mod pacing;
mod prefill;
mod request;
mod scoring;

pub use request::{Event, Listener, Policy, Request};

use crate::adapter::LoraAdapter;
use crate::adapter::merged::Merged;
use crate::error::{Error, Result};
use crate::gpu::plan::Timestamps;
use crate::gpu::{Gpu, GpuTime, Plan};
use crate::kernels::{self, KvFormat, attention, attention_decode};
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use crate::model::buffers::Decode;
use crate::model::chat_template::{ChatTemplate, Message};
use crate::model::config::Config;
use crate::model::kv_cache::KvCache;
use crate::model::llama::Llama;
use crate::model::source::Source;
use crate::model::synthetic::Synthetic;
use crate::model::tiny;
use crate::model::tokenizer::Tokenizer;
use crate::router::Router;
use crate::trace::{Detail, Dispatch, ModelSummary, Run, Sampling, Submission};
use crate::weights::gguf::Gguf;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to load and how.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Index or part of the name of a GPU; the best one by default.
    pub device: Option<String>,
    /// A GGUF file.
    pub model: PathBuf,
    /// How the KV cache stores numbers.
    pub kv: KvFormat,
    /// Where tuning and compiled pipelines are kept; by default nowhere.
    pub cache: Option<PathBuf>,
    /// The longest conversation in tokens; by default what the model was made for, up to 32,768 (12,000 on software Vulkan).
    pub context: Option<usize>,
    /// A LoRA adapter's folder.
    pub adapter: Option<PathBuf>,
    /// How the adapter is applied.
    pub adapter_mode: AdapterMode,
}

/// How a LoRA adapter is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AdapterMode {
    /// Beside the weights, whenever they are used: a prompt takes four dispatches more a layer, an answer one a token.
    #[default]
    RunTime,
    /// Added to the weights once, which are then stored as f32: no more dispatches, more bytes.
    Merged,
}

/// The longest context unless more is asked for: tables grow with it.
const CONTEXT: usize = 32_768;

/// A conversation whose keys and values are in the cache.
struct Conversation {
    ids: Vec<u32>,
    mask: LayerMask,
    cache: KvCache,
    /// The first tokens, if every layer has read them and has kept their keys and values.
    prompt: usize,
    /// What routers said of each of those, `[layers * routers per layer][prompt]`; nothing if they were not asked.
    scores: Vec<Vec<f32>>,
}

impl Conversation {
    /// How many of the first tokens are these.
    fn alike(&self, ids: &[u32]) -> usize {
        let pairs = self.ids.iter().zip(ids);
        pairs.take_while(|(a, b)| a == b).count()
    }

    /// Frees the cache of a layer whose attention is skipped; commands keep the memory until they have run.
    fn forget_skipped(&mut self, layer: usize) {
        if !self.mask.runs(layer, Sublayer::Attn) {
            self.cache.free(layer);
        }
    }
}

/// A model on a GPU.
pub struct Engine {
    /// The GPU.
    pub gpu: Gpu,
    /// The model.
    pub model: Llama,
    /// Its vocabulary.
    pub tokenizer: Tokenizer,
    /// Its chat template, where the file has one.
    pub template: Option<ChatTemplate>,
    /// Its sizes, for traces.
    pub summary: ModelSummary,
    /// The file, for its SHA-256 when a router asks.
    path: PathBuf,
    /// What ends an answer that is learned from.
    answer_end: Option<u32>,
    kv: KvFormat,
    decode: Decode,
    router: Option<scoring::GpuRouter>,
    conversation: Option<Conversation>,
}

impl Engine {
    /// Opens the GPU and puts the model on it. `progress` hears of bytes done and bytes in all.
    pub fn load(options: &LoadOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<Self> {
        // The file first: a mistyped path should not wait for a driver.
        let gguf = Gguf::open(&options.model)?;
        let config = Config::from_gguf(&gguf)?;
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        let has_template = gguf.get("tokenizer.chat_template").is_some();
        let template = if has_template {
            Some(ChatTemplate::from_gguf(&gguf)?)
        } else {
            None
        };
        let adapter = options.adapter.as_deref();
        let adapter = adapter
            .map(|folder| LoraAdapter::load(folder, &config))
            .transpose()?;
        let merged = match (&adapter, options.adapter_mode) {
            (Some(adapter), AdapterMode::Merged) => Some(Merged {
                gguf: &gguf,
                adapter,
            }),
            _ => None,
        };
        let source: &dyn Source = match &merged {
            Some(merged) => merged,
            None => &gguf,
        };
        let beside = adapter.as_ref().filter(|_| merged.is_none());
        let mut engine = Self::assemble(options, source, config, tokenizer, beside, progress)?;
        // As the template ends one: a file may call the end of a text its end.
        let ends = |template: &ChatTemplate| template.answer_end(&engine.tokenizer);
        engine.answer_end = template.as_ref().and_then(ends).or(engine.answer_end);
        engine.template = template;
        if let Some(folder) = &options.adapter {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            engine.summary.name += &format!(" + {name}");
        }
        Ok(engine)
    }

    /// Makes a model of random weights on the GPU, for timing; `options.model` only names it.
    pub fn synthetic(
        model: &Synthetic,
        options: &LoadOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let config = model.config.clone();
        let fail = |error| Error::write(Path::new("vocabulary"), error);
        let mut file = tempfile::NamedTempFile::new().map_err(fail)?;
        file.write_all(&tiny::vocabulary_bytes(config.vocab))
            .map_err(fail)?;
        let tokenizer = Tokenizer::from_gguf(&Gguf::open(file.path())?)?;
        Self::assemble(options, model, config, tokenizer, None, progress)
    }

    fn assemble(
        options: &LoadOptions,
        source: &dyn Source,
        mut config: Config,
        tokenizer: Tokenizer,
        adapter: Option<&LoraAdapter>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let gpu = Gpu::open_with(options.device.as_deref(), options.cache.as_deref())?;
        let most = attention::most_positions(&gpu.class);
        let context = options.context.unwrap_or(CONTEXT.min(most)).max(1);
        config.context = config.context.min(context);
        if config.context > most {
            return Err(Error::input(
                format!(
                    "software Vulkan reads at most {most} tokens, `--context` asks for {context}"
                ),
                format!("give `--context {most}` or less, or another GPU with `--device`"),
            ));
        }
        let most = kernels::most_vocab(&gpu.class);
        if config.vocab > most {
            return Err(Error::input(
                format!(
                    "software Vulkan chooses among at most {most} tokens, this model's vocabulary has {}",
                    config.vocab
                ),
                "choose a GPU with `--device`, or give another model",
            ));
        }
        let mut model = Llama::load(&gpu, source, config, progress)?;
        let decode = model.set_adapter(&gpu, adapter)?;
        let summary = summary(&model, &options.model);
        let path = options.model.clone();
        Ok(Self {
            gpu,
            answer_end: model.config.eos,
            model,
            tokenizer,
            template: None,
            summary,
            path,
            kv: options.kv,
            decode,
            router: None,
            conversation: None,
        })
    }

    /// The model file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its KV caches hold.
    pub fn kv(&self) -> KvFormat {
        self.kv
    }

    /// Applies an adapter from now on, or none.
    pub fn set_adapter(&mut self, adapter: Option<&LoraAdapter>) -> Result<()> {
        self.conversation = None;
        self.decode = self.model.set_adapter(&self.gpu, adapter)?;
        Ok(())
    }

    /// Puts a router's weights on the GPU; [`Policy::Routed`] needs one.
    pub fn set_router(&mut self, router: &Router) -> Result<()> {
        self.router = Some(scoring::GpuRouter::new(
            &self.gpu,
            router,
            self.model.config.context,
        )?);
        // What other routers said says nothing of these.
        if let Some(conversation) = &mut self.conversation {
            conversation.scores.clear();
        }
        Ok(())
    }

    /// How a prompt is read under a policy.
    pub fn reading(&self, policy: &Policy) -> PrefillReading {
        match policy {
            Policy::Fixed(masking) => masking.prefill,
            Policy::Routed(_) => {
                let router = self.router.as_ref();
                router.map_or(PrefillReading::Masked, |router| router.reading)
            }
            Policy::Sticky => PrefillReading::Masked,
        }
    }

    /// The token ids of a prompt: one user turn through the chat template, or the text as it is.
    pub fn prompt_ids(&self, prompt: &str, chat: bool) -> Result<Vec<u32>> {
        if !chat {
            let ids = self.tokenizer.encode(prompt)?;
            return self.check_prompt(&ids).map(|()| ids);
        }
        self.chat_ids(&[Message::new("user", prompt)])
    }

    /// The token ids of a conversation that the model is to continue.
    pub fn chat_ids(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or_else(|| {
            Error::input(
                "this model's file has no chat template",
                "give prompts as they are, with `first run --raw`",
            )
        })?;
        let ids = self.tokenizer.encode(&template.render(messages, true)?)?;
        self.check_prompt(&ids).map(|()| ids)
    }

    /// The token that ends an answer, where the model has one.
    pub fn answer_end(&self) -> Option<u32> {
        self.answer_end
    }

    fn check_prompt(&self, ids: &[u32]) -> Result<()> {
        let context = self.model.config.context;
        if ids.is_empty() {
            return Err(Error::input(
                "the prompt is empty",
                "give a prompt of at least one token",
            ));
        }
        if ids.len() >= context {
            return Err(Error::input(
                format!(
                    "the prompt has {} tokens, the context holds {context}",
                    ids.len()
                ),
                "shorten the prompt, begin a new conversation, or raise `--context` as far as the model goes",
            ));
        }
        Ok(())
    }

    /// Forgets the conversation and frees its cache.
    pub fn reset(&mut self) {
        self.conversation = None;
    }

    /// Answers with two tokens that nobody sees and forgets the conversation, so that drivers have compiled what a policy
    /// needs before times count: for many of them a kernel's first dispatch compiles it.
    pub fn warm_up(&mut self, policy: &Policy, sampling: &Sampling) -> Result<()> {
        let ids = vec![0; 2];
        if self.check_prompt(&ids).is_err() {
            return Ok(());
        }
        let mut request = Request::new(ids, policy.clone(), 2);
        request.sampling = sampling.clone();
        self.reset();
        self.generate(&request, &mut |_| ControlFlow::Continue(()))?;
        let far = self.model.config.context;
        if attention_decode::splits(&self.gpu.class, far) > 1
            && let Some(short) = &self.conversation
        {
            // What a long context takes, over these few tokens.
            let known = (&short.cache, &short.mask);
            let steps = self
                .model
                .decode_steps(&self.gpu, &self.decode, known, far)?;
            Plan::new(&self.gpu, steps)?.run(&self.gpu)?;
        }
        self.reset();
        Ok(())
    }

    /// Reads the last answer with every layer, if its prompt was kept: what a next turn would wait for.
    pub fn read_ahead(&mut self, policy: &Policy) -> Result<()> {
        let Some(conversation) = self.conversation.as_ref().filter(|known| known.prompt > 0) else {
            return Ok(());
        };
        if conversation.ids.len() == conversation.prompt {
            return Ok(());
        }
        let mut request = Request::new(conversation.ids.clone(), policy.clone(), 0);
        request.keep_prompt = true;
        let mut run = self.new_run(&request);
        let listener = &mut |_: Event<'_>| ControlFlow::Continue(());
        let conversation = self.prefill(&request, 0, &Instant::now(), &mut run, listener)?;
        self.conversation = Some(conversation);
        Ok(())
    }

    /// Answers a prompt.
    pub fn generate(&mut self, request: &Request, listener: &mut Listener<'_>) -> Result<Run> {
        self.check_prompt(&request.ids)?;
        let room = self.model.config.context - request.ids.len();
        let max_tokens = request.max_tokens.min(room);
        let mut run = self.new_run(request);
        let clock = Instant::now();
        let mut conversation = self.prefill(request, max_tokens, &clock, &mut run, listener)?;
        self.decode(
            request,
            max_tokens,
            &mut conversation,
            &clock,
            &mut run,
            listener,
        )?;
        run.kv_bytes = conversation.cache.bytes();
        run.kv_bytes_full = conversation.cache.full_bytes();
        run.mask = conversation.mask.clone();
        self.conversation = Some(conversation);
        Ok(run)
    }

    fn new_run(&self, request: &Request) -> Run {
        let ids = &request.ids;
        Run {
            model: self.summary.clone(),
            gpu: self.gpu.summary.clone(),
            prompt: request.prompt.clone(),
            prompt_ids: ids.to_vec(),
            prompt_pieces: ids.iter().map(|id| self.tokenizer.piece(*id)).collect(),
            answer_ids: Vec::new(),
            answer: String::new(),
            policy: request.policy_name.clone(),
            mask: LayerMask::full(self.model.config.layers),
            prefill: self.reading(&request.policy),
            cached_tokens: 0,
            scores: Vec::new(),
            sampling: request.sampling.clone(),
            ttft_nanos: 0,
            token_nanos: Vec::new(),
            kv_bytes: 0,
            kv_bytes_full: 0,
            decode_dispatches: 0,
            prefill_dispatches: 0,
            detail: request.detail,
            dispatches: Vec::new(),
            submissions: Vec::new(),
            dropped_timestamps: 0,
            finish_reason: None,
            tag: None,
        }
    }
}

fn summary(model: &Llama, path: &Path) -> ModelSummary {
    let bytes = |sublayer| {
        (0..model.config.layers)
            .map(|layer| model.sublayer_bytes(layer, sublayer))
            .collect()
    };
    ModelSummary {
        name: model.config.name.clone(),
        file: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        layers: model.config.layers,
        hidden: model.config.hidden,
        attn_bytes: bytes(Sublayer::Attn),
        mlp_bytes: bytes(Sublayer::Mlp),
        other_bytes: model.head_bytes(),
    }
}

/// Notes a submission in a run, and waits for it where it is timed, for which `wall_nanos` is filled in.
fn note(
    gpu: &Gpu,
    clock: &Instant,
    run: &mut Run,
    plan: &Plan,
    mut submission: Submission,
    timestamps: Option<&Timestamps>,
) -> Result<()> {
    let token = submission.token;
    let handed_over = submission.start_nanos + submission.encode_nanos;
    if run.detail != Detail::None {
        gpu.wait()?;
        submission.wall_nanos = clock.elapsed().as_nanos() as u64 - handed_over;
    }
    run.submissions.push(submission);
    if let Some(timestamps) = timestamps {
        let times = timestamps.read_back(gpu, plan)?;
        record(run, token, plan, handed_over, times);
    }
    Ok(())
}

/// Adds what the GPU's clock says of a plan that ran to the trace. `start` is when it was handed over.
fn record(run: &mut Run, token: u32, plan: &Plan, start: u64, times: (Vec<GpuTime>, u32)) {
    run.dropped_timestamps += times.1;
    for (group, time) in plan.groups(run.detail).into_iter().zip(times.0) {
        let steps = &plan.steps()[group];
        let (layer, step) = (steps[0].layer(), &steps[0]);
        let whole = layer.filter(|_| run.detail == Detail::Layer);
        run.dispatches.push(Dispatch {
            token,
            layer,
            label: whole.map_or_else(|| step.label.clone(), |layer| format!("L{layer:02}")),
            kernel: whole.map_or(step.op.kernel(), |_| "layer").to_owned(),
            start_nanos: start + time.start_nanos,
            duration_nanos: time.duration_nanos,
            weight_bytes: steps.iter().map(|step| step.weight_bytes).sum(),
            flops: steps.iter().map(|step| step.flops).sum(),
        });
    }
}
