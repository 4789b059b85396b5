//! `first train routers`, `joint` and `lora`: runs of training through the model.

use super::super::options::{ModelOptions, base_model, load, rate, some, text_tokens};
use super::super::progress::{count_bar, follow, interrupt};
use super::{THRESHOLDS, calibration_masks, command_line, read, save, tasks};
use crate::adapter::{LoraAdapter, Target};
use crate::data::must_be_others;
use crate::engine::Engine;
use crate::kernels::KvFormat;
use crate::mask::{LayerMask, Masking, PrefillReading};
use crate::router::file::{BaseModel, Decides, RouterFile};
use crate::router::{CalibrationPoint, Router};
use crate::train::log::{EvaluationLine, last_evaluation};
use crate::train::run::{Beginning, Event, Keeping, Tasks, run};
use crate::train::schedule::{Gates, RunOptions};
use crate::train::{calibration, checkpoint};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

const BETWEEN_LOOKS: u32 = 50;
const FIRST_BIAS: f32 = 2.0;

/// What every run needs.
#[derive(Debug, clap::Args)]
struct RunArguments {
    /// JSON lines with `prompt` and `completion`, or `messages`, and `task`; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// Examples to look at while training, which must be others.
    #[arg(long, value_name = "FILE")]
    calibration: Vec<PathBuf>,
    /// Calibration examples of each task to look at.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = some(), requires = "calibration")]
    look_at: usize,
    /// Leave out lines that are no examples, and prompts that leave no room for an answer, saying which, instead of
    /// stopping.
    #[arg(long)]
    skip_bad: bool,
    /// The folder of the run: checkpoint, log, and what comes out. A run that was interrupted goes on from there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Begin with the routers and the adapter of this folder; for `joint`, an adapter alone will do.
    #[arg(long, value_name = "DIR")]
    begin: Option<PathBuf>,
    /// Steps of the optimiser.
    #[arg(long, value_name = "N", default_value_t = 700)]
    steps: u32,
    /// Texts a step; tasks take turns.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = some())]
    batch: usize,
    /// Longest text in tokens; longer ones are cut. Mesa's software Vulkan trains on 2,048 at most.
    #[arg(long, value_name = "N", default_value_t = 320, value_parser = text_tokens())]
    tokens: usize,
    /// Seed of the order of the texts and of the first values.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps between checkpoints.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint: u32,
    /// Steps between looks at the calibration examples, 50 if nothing else is said; 0 for none.
    #[arg(long, value_name = "N")]
    evaluate: Option<u32>,
    /// Learn from the full model too: the share, from 0 to 1, of its probabilities in what each token is to be; the rest is
    /// the text's own token.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    distil: f32,
    #[command(flatten)]
    model: ModelOptions,
}

/// How routers learn.
#[derive(Debug, clap::Args)]
struct RouterArguments {
    /// Share of the layers' weights to skip.
    #[arg(long, value_name = "RATE", default_value = "9%", value_parser = rate)]
    skip: f32,
    /// Share of the steps over which the rate that is asked for rises to `--skip`.
    #[arg(long, value_name = "SHARE", default_value_t = 0.33)]
    skip_after: f32,
    /// Weight, in the loss, of how far each text is from that rate, squared: the higher, the more alike prompts skip.
    #[arg(long, value_name = "X", default_value_t = 40.0)]
    pull: f32,
    /// How the gates become hard.
    #[arg(long, value_enum, default_value_t = Gates::Annealed)]
    gates: Gates,
    /// First temperature of the gates.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    temperature: f32,
    /// Last temperature of the gates.
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    last_temperature: f32,
    /// Learning rate of the routers' weights; 0 learns one mask for all prompts, which in the end skips as near to `--skip` as
    /// may be.
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    router_rate: f32,
    /// Weight decay of the routers' weights, as AdamW does it: less of it the lower the learning rate.
    #[arg(long, value_name = "X", default_value_t = 0.01)]
    decay: f32,
    /// Learning rate of the routers' biases.
    #[arg(long, value_name = "X", default_value_t = 0.05)]
    bias_rate: f32,
    /// The first bias of routers that begin anew, 2 if nothing else is said.
    #[arg(long, value_name = "X")]
    bias: Option<f32>,
}

/// How low-rank updates learn.
#[derive(Debug, clap::Args)]
struct LoraArguments {
    /// Learning rate of the low-rank updates.
    #[arg(long, value_name = "X", default_value_t = 5e-4)]
    lora_rate: f32,
    /// Rank of the low-rank updates, PEFT's `r`.
    #[arg(long, value_name = "N", default_value_t = 8)]
    rank: usize,
    /// PEFT's `lora_alpha`: updates are alpha / rank times B A.
    #[arg(long, value_name = "X", default_value_t = 16.0)]
    alpha: f32,
    /// The matrices that low-rank updates adapt.
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',', default_values_t = Target::ALL)]
    targets: Vec<Target>,
    /// With `--distil`: the full model teaches with the adapter of this folder, of the same rank and alpha.
    #[arg(long, value_name = "DIR", requires = "distil")]
    teacher: Option<PathBuf>,
    /// The base model's name, for PEFT; by default that of the model file.
    #[arg(long, value_name = "NAME")]
    base_model: Option<String>,
}

/// Train routers end to end through the model, which stays as it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Routers {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    routers: RouterArguments,
}

/// Train routers and low-rank updates (LoRA) at once; then the routers freeze and the updates go on.
#[derive(Debug, clap::Args)]
pub(crate) struct Joint {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    routers: RouterArguments,
    /// Share of the steps in which the routers learn.
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    routers_until: f32,
    #[command(flatten)]
    lora: LoraArguments,
}

/// Train low-rank updates (LoRA) for layers that routers or a mask leave.
#[derive(Debug, clap::Args)]
pub(crate) struct Lora {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    lora: LoraArguments,
    /// Skip exactly these for every text, in place of the routers of `--begin`: `7-9,21,12.attn`; `none` for nothing.
    #[arg(long, value_name = "LAYERS")]
    skip_layers: Option<String>,
    /// What `--skip-layers` concerns: prompt and answer, or the answer alone. Routers of `--begin` say so themselves.
    #[arg(long, value_enum, default_value_t, requires = "skip_layers")]
    prefill: PrefillReading,
}

/// How routers were made.
type Provenance = BTreeMap<String, String>;

impl RunArguments {
    fn options(
        &self,
        routers: Option<&RouterArguments>,
        lora: Option<&LoraArguments>,
    ) -> RunOptions {
        RunOptions {
            steps: self.steps,
            batch: self.batch,
            tokens: self.tokens,
            seed: self.seed,
            routers_until: if routers.is_some() { 1.0 } else { 0.0 },
            gates: routers.map_or(Gates::Annealed, |routers| routers.gates),
            skip: routers.map_or(0.0, |routers| routers.skip),
            skip_after: routers.map_or(0.0, |routers| routers.skip_after),
            pull: routers.map_or(0.0, |routers| routers.pull),
            temperature: routers.map_or([1.0; 2], |routers| {
                [routers.temperature, routers.last_temperature]
            }),
            router_rate: routers.map_or(0.0, |routers| routers.router_rate),
            decay: routers.map_or(0.0, |routers| routers.decay),
            bias_rate: routers.map_or(0.0, |routers| routers.bias_rate),
            bias: routers.map_or(0.0, |routers| routers.bias.unwrap_or(FIRST_BIAS)),
            lora_rate: lora.map_or(0.0, |lora| lora.lora_rate),
            rank: lora.map_or(8, |lora| lora.rank),
            alpha: lora.map_or(16.0, |lora| lora.alpha),
            targets: lora.map_or_else(Vec::new, |lora| {
                lora.targets
                    .iter()
                    .map(|target| target.name().to_owned())
                    .collect()
            }),
            mask: None,
            prefill: PrefillReading::Masked,
            distil: self.distil,
            begin: None,
            teacher: None,
            clip: 1.0,
        }
    }

    fn run(
        &self,
        mut options: RunOptions,
        lora: Option<&LoraArguments>,
    ) -> anyhow::Result<ExitCode> {
        options.check()?;
        anyhow::ensure!(
            !self.calibration.is_empty() || self.evaluate.is_none_or(|every| every == 0),
            "`--evaluate` looks at calibration examples, and there are none; give some with `--calibration FILE`"
        );
        let out = self.out.display();
        // What a run writes at its end must not be what another has made.
        anyhow::ensure!(
            self.out.join(checkpoint::FILE).exists()
                || !(RouterFile::is_in(&self.out) || LoraAdapter::is_in(&self.out)),
            "{out} holds routers or an adapter that no run in it has made; give another `--out`"
        );
        let teacher = lora.and_then(|lora| lora.teacher.as_deref());
        options.teacher = teacher.map(LoraAdapter::digest).transpose()?;
        let train = read(&self.data, self.skip_bad)?;
        let held_out = read(&self.calibration, self.skip_bad)?;
        must_be_others(&train, &held_out)?;
        let mut engine = load(&self.model)?;
        anyhow::ensure!(
            engine.kv() == KvFormat::F32,
            "training keeps keys and values as f32; leave out `--kv`"
        );
        let interrupted = interrupt()?;
        let (router, adapter, made) = self.beginning(&engine, &mut options)?;
        let options = &options;
        let config = &engine.model.config;
        let teacher = teacher.map(|folder| LoraAdapter::load(folder, config));
        let teacher = teacher.transpose()?;
        // The last token of a text is only predicted.
        let of = |examples, most| {
            let sizes = [self.tokens + 1, most];
            tasks(&engine, examples, sizes, self.skip_bad)
        };
        let [train, held_out] = [of(&train, usize::MAX)?, of(&held_out, self.look_at)?];
        let command = command_line(std::env::args_os().skip(1));
        let base_model = base_model(&engine)?;
        let keeping = Keeping {
            folder: &self.out,
            command: &command,
            model_sha256: &base_model.sha256,
            checkpoint: self.checkpoint,
            evaluate: self.evaluate.unwrap_or(BETWEEN_LOOKS),
        };
        let bar = count_bar("training");
        bar.set_length(u64::from(options.steps));
        let mut listener = |event: Event<'_>| {
            match event {
                Event::Step(line) => {
                    bar.set_position(u64::from(line.step));
                    let rate = line.tokens as f64 / line.seconds;
                    bar.set_message(format!(
                        "loss {:.3}, skips {:.1} %, {rate:.0} tokens/s",
                        line.loss,
                        100.0 * line.skip_hard
                    ));
                }
                Event::Evaluation(line) => bar.println(look(line)),
            }
            let done = bar.position();
            follow(&bar, &interrupted, done, options.steps.into())
        };
        let beginning = Beginning {
            router: router.as_ref(),
            adapter: adapter.as_ref(),
            teacher: teacher.as_ref(),
        };
        let trainer = run(
            &engine,
            options,
            [&train, &held_out],
            beginning,
            keeping,
            &mut listener,
        )?;
        bar.finish_and_clear();
        let name = lora.and_then(|lora| lora.base_model.clone());
        let name = name.unwrap_or_else(|| engine.summary.name.clone());
        let router = options.mask.is_none().then(|| trainer.router());
        let adapter = (options.lora_rate > 0.0).then(|| trainer.adapter(&name));
        let (router, adapter) = (router.transpose()?, adapter.transpose()?);
        drop(trainer);
        if let Some(adapter) = &adapter {
            engine.set_adapter(Some(adapter))?;
        }
        let points = match &router {
            Some(router) => calibrate(&mut engine, router, &held_out, &interrupted)?,
            None => Vec::new(),
        };
        // Only now, so that an interrupted calibration leaves nothing half done.
        self.write(
            &engine,
            options,
            (router, points, made),
            adapter,
            base_model,
            &command,
        )
    }

    /// Refuses a first bias of routers that begin with one of their own.
    fn check_bias(&self, routers: &RouterArguments) -> anyhow::Result<()> {
        let begun = self.begin.as_deref().filter(|_| routers.bias.is_some());
        if let Some(folder) = begun.filter(|folder| RouterFile::has_routers(folder)) {
            anyhow::bail!(
                "the routers of {} have biases, which `--bias` would not change; leave it out",
                folder.display()
            );
        }
        Ok(())
    }

    /// Writes what was learned, and says so.
    fn write(
        &self,
        engine: &Engine,
        options: &RunOptions,
        (router, calibration, mut provenance): (Option<Router>, Vec<CalibrationPoint>, Provenance),
        adapter: Option<LoraAdapter>,
        base_model: BaseModel,
        command: &str,
    ) -> anyhow::Result<ExitCode> {
        let last = last_evaluation(&self.out)?.filter(|line| line.step == options.steps);
        let last = last.as_ref().map(look);
        if let Some(by) = provenance.insert("made by".to_owned(), format!("first {command}")) {
            provenance.entry("routers made by".to_owned()).or_insert(by);
        }
        if let Some(last) = &last {
            provenance.insert("calibration examples".to_owned(), last.clone());
        }
        let decides = match router {
            Some(router) => Decides::Routers(router),
            None => {
                let skipped = options.mask.as_deref().unwrap_or("none");
                let mask = LayerMask::parse(skipped, engine.model.config.layers)?;
                let masking = Masking::new(mask, options.prefill);
                Decides::Mask(masking)
            }
        };
        let file = RouterFile {
            base_model,
            decides,
            calibration,
            provenance,
        };
        save(&self.out, adapter.as_ref(), &file, engine)?;
        if let Some(last) = last {
            say!("{last}");
        }
        say!("written to {}", self.out.display());
        Ok(ExitCode::SUCCESS)
    }

    /// What the run begins with, of which the options keep a digest, and how routers that will not learn were made.
    fn beginning(
        &self,
        engine: &Engine,
        options: &mut RunOptions,
    ) -> anyhow::Result<(Option<Router>, Option<LoraAdapter>, Provenance)> {
        let Some(folder) = &self.begin else {
            let learns = options.routers_until > 0.0 || options.mask.is_some();
            anyhow::ensure!(
                learns,
                "nothing decides what is skipped; give routers with `--begin DIR`, or, for `first train lora`, a mask with `--skip-layers`"
            );
            return Ok((None, None, Provenance::new()));
        };
        let has_adapter = options.lora_rate > 0.0 && LoraAdapter::is_in(folder);
        if LoraAdapter::is_in(folder) && !has_adapter {
            tell!(
                "{} holds an adapter, which is left out: routers alone are trained",
                folder.display()
            );
        }
        let (mut router, mut files, mut made) = (None, String::new(), Provenance::new());
        if options.mask.is_none() {
            // `joint` may add routers to an adapter that was trained without.
            let new_routers = options.routers_until > 0.0 && has_adapter;
            if !new_routers || RouterFile::is_in(folder) {
                let file = RouterFile::load(folder)?;
                file.check(&base_model(engine)?)?;
                router = file.router().cloned();
                if options.routers_until == 0.0 {
                    made = file.provenance;
                    made.remove("calibration examples");
                }
            }
            match (&router, new_routers) {
                (Some(router), _) => {
                    options.prefill = router.prefill;
                    options.check()?;
                    files += &RouterFile::digest(folder)?;
                }
                (None, true) => tell!("{} holds no routers: they begin anew", folder.display()),
                (None, false) => anyhow::bail!(
                    "{} holds a fixed mask, no routers; give it to `first train lora --skip-layers`",
                    folder.display()
                ),
            }
        }
        let adapter = if has_adapter {
            files += &LoraAdapter::digest(folder)?;
            Some(LoraAdapter::load(folder, &engine.model.config)?)
        } else {
            None
        };
        anyhow::ensure!(
            !files.is_empty(),
            "{} holds nothing that this run begins with; give another folder, or leave out `--begin`",
            folder.display()
        );
        options.begin = Some(files);
        Ok((router, adapter, made))
    }
}

/// A look at calibration texts in words.
fn look(line: &EvaluationLine) -> String {
    format!(
        "step {}: calibration loss {:.4}, skips {:.1} %, {} masks",
        line.step,
        line.heldout_loss,
        100.0 * line.heldout_skip,
        line.heldout_masks
    )
}

/// What thresholds skip on the prompts of calibration texts.
fn calibrate(
    engine: &mut Engine,
    router: &Router,
    held_out: &Tasks,
    interrupted: &AtomicBool,
) -> anyhow::Result<Vec<CalibrationPoint>> {
    let masks = calibration_masks(engine, router, held_out, interrupted)?;
    if masks.is_empty() {
        return Ok(Vec::new());
    }
    Ok(calibration(&engine.summary, &THRESHOLDS, &masks))
}

impl Routers {
    fn options(&self) -> RunOptions {
        self.run.options(Some(&self.routers), None)
    }

    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.run.check_bias(&self.routers)?;
        self.run.run(self.options(), None)
    }
}

impl Joint {
    fn options(&self) -> RunOptions {
        RunOptions {
            routers_until: self.routers_until,
            ..self.run.options(Some(&self.routers), Some(&self.lora))
        }
    }

    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.run.check_bias(&self.routers)?;
        self.run.run(self.options(), Some(&self.lora))
    }
}

impl Lora {
    fn options(&self) -> RunOptions {
        RunOptions {
            mask: self.skip_layers.clone(),
            prefill: self.prefill,
            ..self.run.options(None, Some(&self.lora))
        }
    }

    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.run.run(self.options(), Some(&self.lora))
    }
}

#[cfg(test)]
mod tests;
