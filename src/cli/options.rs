//! Options that several commands share, and what they stand for.

mod numbers;

use super::progress::{byte_bar, update};
use crate::data::Tokens;
use crate::engine::{AdapterMode, Engine, LoadOptions, Policy};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::journal::Subject;
use crate::kernels::KvFormat;
use crate::mask::LayerMask;
use crate::model::synthetic::Synthetic;
use crate::pull;
use crate::router::file::{BaseModel, Decides, RouterFile};
use crate::router::policy::{even, random};
use crate::router::{Decision, threshold_for};
use crate::shipped;
use crate::trace::Sampling;
use numbers::share;
pub(super) use numbers::{not_negative, rate, some, text_tokens, tokens, tolerance, units};
use std::path::PathBuf;

/// Which model.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelFile {
    /// A GGUF file; without it, SmolLM2-135M-Instruct, fetched on first use.
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
}

impl ModelFile {
    /// The model file, fetched if it is the default one and not there yet.
    pub(super) fn path(&self) -> Result<PathBuf> {
        match &self.model {
            Some(path) => Ok(path.clone()),
            None => fetch(),
        }
    }
}

/// Which model, on what.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelOptions {
    #[command(flatten)]
    file: ModelFile,
    /// The GPU, by index, or part of its name or backend (see `first devices`).
    #[arg(long, value_name = "GPU")]
    device: Option<String>,
    /// How the KV cache stores numbers.
    #[arg(long, value_enum, default_value_t = KvFormat::F32)]
    kv: KvFormat,
    /// The longest conversation in tokens; by default the model's own, up to 32768, or 12000 on software Vulkan.
    #[arg(long, value_name = "N")]
    context: Option<usize>,
}

impl ModelOptions {
    fn load_options(&self, model: PathBuf) -> LoadOptions {
        LoadOptions {
            device: self.device.clone(),
            model,
            kv: self.kv,
            cache: pull::cache_folder().ok(),
            context: self.context,
            ..LoadOptions::default()
        }
    }
}

/// What is added to the model's weights.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct AdapterOptions {
    /// A LoRA adapter in PEFT's format: the folder (see docs/adapter-file.md).
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// How the LoRA adapter is applied; `run-time` if nothing else is said.
    #[arg(long, value_enum, value_name = "MODE")]
    adapter_mode: Option<AdapterMode>,
}

impl AdapterOptions {
    /// The adapter of a folder.
    pub(super) fn of(folder: PathBuf, mode: AdapterMode) -> Self {
        Self {
            adapter: Some(folder),
            adapter_mode: Some(mode),
        }
    }

    /// Whether an adapter is applied beside the weights.
    pub(super) fn is_beside(&self) -> bool {
        self.adapter.is_some() && self.mode() == AdapterMode::RunTime
    }

    /// Refuses a way to apply what there is none of.
    pub(super) fn check(&self) -> Result<()> {
        if self.adapter.is_none() && self.adapter_mode.is_some() {
            return Err(Error::input(
                "`--adapter-mode` says how an adapter is applied, and there is none",
                "give one with `--adapter DIR`, or leave it out",
            ));
        }
        Ok(())
    }

    fn mode(&self) -> AdapterMode {
        self.adapter_mode.unwrap_or_default()
    }
}

/// Fetches the default model with a progress bar, if it is not there yet.
pub(super) fn fetch() -> Result<PathBuf> {
    let bar = byte_bar("fetching the default model");
    let path = pull::default_model(&mut |done, total| update(&bar, done, total))?;
    bar.finish_and_clear();
    Ok(path)
}

/// Loads a model with a progress bar.
pub(super) fn load(options: &ModelOptions) -> Result<Engine> {
    load_with(options, &AdapterOptions::default())
}

/// Loads a model and an adapter with a progress bar.
pub(super) fn load_with(options: &ModelOptions, adapter: &AdapterOptions) -> Result<Engine> {
    let mut options = options.load_options(options.file.path()?);
    options.adapter = adapter.adapter.clone();
    options.adapter_mode = adapter.mode();
    let bar = byte_bar("loading");
    let engine = Engine::load(&options, &mut |done, total| update(&bar, done, total))?;
    bar.finish_and_clear();
    report_ignored(&engine.gpu);
    let mixed = engine.model.mixed_bytes() / 1_000_000;
    if mixed > 0 {
        tell!(
            "{mixed} MB of this model are kept as f32, since matrices are joined that have several formats; where gate and up have one, it takes less memory and time"
        );
    }
    let context = engine.model.config.context;
    if options.context.is_some_and(|asked| asked > context) {
        tell!("the model was made for {context} tokens, and so long is the context");
    }
    Ok(engine)
}

/// Says why a better GPU or a stored tuning was not used.
pub(super) fn report_ignored(gpu: &Gpu) {
    for why in &gpu.ignored {
        tell!("{why}");
    }
}

/// Makes a model of random weights with a progress bar.
pub(super) fn synthesise(model: &Synthetic, options: &ModelOptions) -> Result<Engine> {
    let options = options.load_options(PathBuf::from(&model.config.name));
    let bar = byte_bar("making random weights");
    let engine = Engine::synthetic(model, &options, &mut |done, total| {
        update(&bar, done, total)
    })?;
    bar.finish_and_clear();
    report_ignored(&engine.gpu);
    Ok(engine)
}

/// Says how many texts do not end as they should, since they are longer than allowed.
pub(super) fn tell_of_cuts<'a>(engine: &Engine, texts: impl Iterator<Item = &'a Tokens>) {
    let (mut all, mut cut) = (0, 0);
    for text in texts {
        all += 1;
        cut += usize::from(text.is_cut(engine));
    }
    if cut > 0 {
        tell!(
            "{cut} of {all} examples are longer than `--tokens` or the model's context: what is over is left out, and so is the end of the turn"
        );
    }
}

/// What the results of an engine depend on.
pub(super) fn subject(engine: &Engine) -> Result<Subject> {
    Ok(Subject {
        model_sha256: pull::sha256(engine.path())?,
        kv: engine.kv(),
        gpu: engine.gpu.summary.clone(),
    })
}

/// How tokens are chosen.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SamplingOptions {
    /// 0 always takes the most likely token.
    #[arg(long, default_value_t = 0.0, value_parser = not_negative)]
    temperature: f32,
    /// Draw, with `--temperature`, among the K most likely tokens; 0 for all.
    #[arg(long, value_name = "K", default_value_t = 0, requires = "temperature")]
    top_k: u32,
    /// Draw, with `--temperature`, among the likeliest tokens that hold this share of the probability.
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = share, requires = "temperature")]
    top_p: f32,
    /// Leave out, with `--temperature`, tokens less likely than this share of the likeliest.
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = share, requires = "temperature")]
    min_p: f32,
    /// Seed of the draws, with `--temperature`.
    #[arg(long, default_value_t = 0, requires = "temperature")]
    seed: u64,
}

impl SamplingOptions {
    pub(super) fn sampling(&self) -> Sampling {
        let Self {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
        } = *self;
        Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
        }
    }
}

/// Routers, and how much they skip.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RouterOptions {
    /// Routers, or a fixed mask written by `first calibrate`: the folder (see docs/router-file.md).
    #[arg(long, value_name = "DIR")]
    router: Option<PathBuf>,
    /// Run what scores at least X, whatever the router file says.
    #[arg(long, value_name = "X", value_parser = share, conflicts_with = "skip")]
    threshold: Option<f32>,
    /// Move the routers' threshold to where their calibration's prompts skip this share of the layers' weights on the
    /// mean, as `6%`; one prompt may skip far more, or nothing.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    skip: Option<f32>,
}

/// What decides which layers run.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct PolicyOptions {
    #[command(flatten)]
    routers: RouterOptions,
    /// Skip exactly these layers, attentions and MLPs, for prompt and answer: `7-9,21,12.attn,5.mlp`; `none` for nothing.
    #[arg(long, value_name = "LAYERS", conflicts_with_all = ["router", "threshold", "skip", "no_skip"])]
    skip_layers: Option<String>,
    /// Run every layer, without routers; without `--adapter`, the model as it came.
    #[arg(long, conflicts_with_all = ["router", "threshold", "skip"])]
    no_skip: bool,
}

impl PolicyOptions {
    /// Takes what came with the program for the model, if nothing else is asked for.
    pub(super) fn or_shipped(
        &mut self,
        model: &ModelOptions,
        adapter: &mut AdapterOptions,
    ) -> Result<()> {
        if self.asks_for_nothing(adapter) {
            let shipped = shipped::for_model(model.file.model.as_deref())?;
            (self.routers.router, adapter.adapter) = (shipped.router, shipped.adapter);
        }
        adapter.check()?;
        self.routers.check()
    }

    fn asks_for_nothing(&self, adapter: &AdapterOptions) -> bool {
        let asked = self.routers.router.is_some() || self.skip_layers.is_some() || self.no_skip;
        !asked && adapter.adapter.is_none()
    }

    /// The policy, with its router put on the GPU, and what traces call it.
    pub(super) fn policy(&self, engine: &mut Engine) -> Result<(Policy, String)> {
        let layers = engine.model.config.layers;
        match (&self.skip_layers, self.no_skip) {
            (Some(text), _) => Ok(Policy::fixed(LayerMask::parse(text, layers)?.into())),
            (None, true) => Ok(Policy::fixed(LayerMask::full(layers).into())),
            (None, false) => self.routers.policy(engine),
        }
    }
}

impl RouterOptions {
    /// Whether there are any.
    pub(super) fn is_given(&self) -> bool {
        self.router.is_some()
    }

    /// Refuses a rate where nothing can meet it.
    pub(super) fn check(&self) -> Result<()> {
        if self.router.is_none() && (self.threshold.is_some() || self.skip.is_some()) {
            return Err(Error::input(
                "`--threshold` and `--skip` need routers to move",
                "give some with `--router DIR`",
            ));
        }
        Ok(())
    }

    fn policy(&self, engine: &mut Engine) -> Result<(Policy, String)> {
        let Some(folder) = &self.router else {
            let full = LayerMask::full(engine.model.config.layers);
            return Ok(Policy::fixed(full.into()));
        };
        let file = RouterFile::load(folder)?;
        file.check(&base_model(engine)?)?;
        let router = match &file.decides {
            Decides::Routers(router) => router,
            Decides::Mask(..) if self.threshold.is_some() || self.skip.is_some() => {
                return Err(Error::input(
                    format!(
                        "{} holds a fixed mask, which has no threshold",
                        folder.display()
                    ),
                    "leave out `--threshold` and `--skip`, or give a folder with routers",
                ));
            }
            Decides::Mask(masking) => return Ok(Policy::fixed(masking.clone())),
        };
        engine.set_router(router)?;
        let mut decision: Decision = router.decision();
        let threshold = match (self.threshold, self.skip) {
            (Some(threshold), _) => Some(threshold),
            (None, Some(rate)) => Some(threshold_for(&file.calibration, rate)?),
            (None, None) => None,
        };
        if let Some(threshold) = threshold {
            decision = decision.with_threshold(threshold);
        }
        Ok((Policy::Routed(decision), "routed".to_owned()))
    }
}

/// What a mask's name stands for: `none`, `fixed:7-9,21`, `even:5` or `random:25%`.
pub(super) fn mask_named(name: &str, layers: usize) -> anyhow::Result<LayerMask> {
    let count = |text: &str| -> anyhow::Result<usize> {
        let wrong = || {
            anyhow::anyhow!(
                "`{text}` is no part of the layers; give a number of them, or a rate like `25%`"
            )
        };
        if text.ends_with('%') {
            Ok((rate(text).map_err(|_| wrong())? * layers as f32).round() as usize)
        } else {
            text.parse().map_err(|_| wrong())
        }
    };
    Ok(match name.split_once(':') {
        None if name == "none" => LayerMask::full(layers),
        Some(("fixed", mask)) => LayerMask::parse(mask, layers)?,
        Some(("even", rate)) => even(layers, count(rate)?)?,
        Some(("random", rate)) => random(layers, count(rate)?, 1)?,
        _ => anyhow::bail!(
            "`{name}` is no mask; give `none`, `fixed:7-9`, `even:5` or `random:25%`, or a router with `--router DIR`"
        ),
    })
}

/// What a policy's name stands for: that of a mask, or `routed`.
pub(super) fn policy_named(
    name: &str,
    options: &RouterOptions,
    engine: &mut Engine,
) -> anyhow::Result<Policy> {
    if name != "routed" {
        let mask = mask_named(name, engine.model.config.layers)?;
        return Ok(Policy::Fixed(mask.into()));
    }
    match (options.policy(engine)?.0, &options.router) {
        (policy @ Policy::Routed(_), _) => Ok(policy),
        (_, Some(folder)) => anyhow::bail!(
            "{} holds one mask for all prompts; give it as `--mask fixed:LAYERS`, or a folder with routers",
            folder.display()
        ),
        _ => anyhow::bail!("`routed` needs a router; give one with `--router DIR`"),
    }
}

/// What a router file must have been made for.
pub(super) fn base_model(engine: &Engine) -> Result<BaseModel> {
    Ok(BaseModel {
        sha256: pull::sha256(engine.path())?,
        name: engine.summary.name.clone(),
        layers: engine.model.config.layers,
        hidden: engine.model.config.hidden,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        policy: PolicyOptions,
        #[command(flatten)]
        adapter: AdapterOptions,
    }

    /// What comes with the program serves unless something else is asked for; how much it skips is no such thing.
    #[test]
    fn what_ships_is_used_by_default() {
        for (line, shipped) in [
            ("", true),
            ("--skip 6%", true),
            ("--threshold 0.3", true),
            ("--adapter-mode merged", true),
            ("--no-skip", false),
            ("--skip-layers 3", false),
            ("--router dir", false),
            ("--adapter dir", false),
        ] {
            let words = std::iter::once("first").chain(line.split_whitespace());
            let Line { policy, adapter } = Line::parse_from(words);
            assert_eq!(policy.asks_for_nothing(&adapter), shipped, "{line}");
        }
        // What would do nothing is refused.
        for line in [
            "--no-skip --router dir",
            "--no-skip --threshold 0.3",
            "--no-skip --skip 6%",
            "--no-skip --skip-layers 3",
            "--skip-layers 3 --skip 6%",
            "--skip-layers 3 --threshold 0.3",
            "--skip-layers 3 --router dir",
        ] {
            let words = std::iter::once("first").chain(line.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{line}");
        }
    }
}
