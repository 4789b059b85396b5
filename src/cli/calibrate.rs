//! `first calibrate`.

use super::options::{ModelOptions, base_model, load, some, tell_of_cuts, text_tokens, units};
use super::progress::{count_bar, follow, interrupt};
use super::train::no_run_in;
use crate::adapter::LoraAdapter;
use crate::calibrate::meter::{Against, LossMeter, Noted};
use crate::calibrate::{Budget, Influence, Unit, block_influence, greedy, influences};
use crate::data;
use crate::journal::Journal;
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use crate::router::Granularity;
use crate::router::file::{Decides, RouterFile};
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measure how much each layer matters on some data, and write a fixed mask of those that matter least.
#[derive(Debug, clap::Args)]
pub(super) struct Calibrate {
    /// JSON lines with `prompt` and `completion`, or `messages`; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// The folder to write the fixed mask to, for `--router`.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many layers (or sublayers) to skip: the cheapest per byte, so that among sublayers MLPs are often first.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = units)]
    budget: usize,
    /// Search over attentions and MLPs separately rather than whole layers.
    #[arg(long)]
    sublayers: bool,
    /// Examples of each task of a file to measure on, spread evenly.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = some())]
    examples: usize,
    /// Longest example in tokens; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = text_tokens())]
    tokens: usize,
    /// How many of the layers (or sublayers) that cost least per byte alone each step of the search tries.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = some())]
    candidates: usize,
    #[command(flatten)]
    model: ModelOptions,
}

impl Calibrate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.check_out()?;
        let mut files = Vec::new();
        for path in &self.data {
            files.push(data::read(path)?);
        }
        let engine = load(&self.model)?;
        let layers = engine.model.config.layers;
        let units = Unit::all(layers, self.sublayers);
        anyhow::ensure!(
            self.budget < units.len(),
            "{} of {} cannot be skipped; ask for fewer",
            self.budget,
            units.len()
        );
        let examples = files
            .iter()
            .flat_map(|examples| data::of_each_task(examples, self.examples));
        let examples = examples
            .map(|example| example.tokens(&engine, self.tokens))
            .collect::<Result<Vec<_>, _>>()?;
        tell_of_cuts(&engine, examples.iter());
        let interrupted = interrupt()?;
        let bar = count_bar("measuring and searching");
        let mut turning = |done, total| follow(&bar, &interrupted, done, total);
        let texts = examples.iter();
        let granularity = if self.sublayers {
            Granularity::Sublayer
        } else {
            Granularity::Layer
        };
        let block = block_influence(&engine, texts, granularity, &mut turning)?;
        let total = 1 + units.len() + self.budget * self.candidates;
        let mut progress = |done, total| follow(&bar, &interrupted, done, total);
        let measured = (Against::Answers, PrefillReading::Masked);
        let meter = LossMeter::new(&engine, &examples, measured, total, &mut progress)?;
        let mut journal = Journal::default();
        let mut meter = Noted::new(meter, &mut journal, "");
        let (base, influences) = influences(layers, &units, &mut meter)?;
        bar.suspend(|| {
            say!(
                "loss of the full model on {} answers: {base:.4} nats per token",
                examples.len()
            );
            list(&influences, &block, layers);
        });
        let budget = Budget {
            units: self.budget,
            rate: 1.0,
            loss: f64::INFINITY,
            candidates: self.candidates,
        };
        let path = greedy(&engine.summary, (base, &influences), budget, &mut meter)?;
        bar.finish_and_clear();
        let (mask, loss) = &path[path.len() - 1];
        let rate = engine.summary.skip_rate(mask);
        say!(
            "skipping {mask}: loss {loss:.4} ({:+.4}), {:.1} % of the layers' weights",
            loss - base,
            100.0 * rate
        );
        let provenance = self.provenance(examples.len(), [*loss, base]);
        let file = RouterFile {
            base_model: base_model(&engine)?,
            decides: Decides::Mask(mask.clone().into()),
            calibration: Vec::new(),
            provenance,
        };
        file.save(&self.out)
            .context("the mask was found but not written")?;
        say!(
            "written to {}; use it with `first run --router {}`",
            self.out.display(),
            self.out.display()
        );
        Ok(ExitCode::SUCCESS)
    }

    /// What the mask's file says of where it comes from: of `examples`, with the loss with the mask and without.
    fn provenance(&self, examples: usize, [loss, base]: [f64; 2]) -> BTreeMap<String, String> {
        let names = self.data.iter().filter_map(|path| path.file_name());
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        let version = env!("CARGO_PKG_VERSION");
        let entries = [
            ("made by", format!("first calibrate {version}")),
            (
                "data",
                format!("{examples} examples of {}", names.join(", ")),
            ),
            (
                "loss",
                format!("{loss:.4} nats per token, {base:.4} with all layers"),
            ),
        ];
        let entries = entries.map(|(key, value)| (key.to_owned(), value));
        entries.into()
    }

    /// A mask is not to be beside an adapter that was made for something else, nor to replace routers.
    fn check_out(&self) -> anyhow::Result<()> {
        let out = &self.out;
        no_run_in(out)?;
        anyhow::ensure!(
            !LoraAdapter::is_in(out) && !RouterFile::has_routers(out),
            "{} holds routers or an adapter; give another `--out`",
            out.display()
        );
        Ok(())
    }
}

/// Prints what skipping each unit alone does to the loss, beside its block influence of `[layers][sublayers]`.
fn list(influences: &[Influence], block: &[[f64; 2]], layers: usize) {
    say!(
        "{:>12}  {:>18}  {:>15}",
        "skipped",
        "change of the loss",
        "block influence"
    );
    for Influence { unit, loss_change } in influences {
        let mask = unit.skipped_from(&LayerMask::full(layers)).to_string();
        let block = block[unit.layer][unit.sublayer.unwrap_or(Sublayer::Mlp) as usize];
        say!("{mask:>12}  {loss_change:>+18.4}  {block:>15.4}");
    }
}
