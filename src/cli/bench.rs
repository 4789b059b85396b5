//! `first bench`.

mod kernels;
mod scaling;

use super::options::{
    AdapterOptions, ModelOptions, RouterOptions, load_with, policy_named, some, synthesise, tokens,
};
use super::progress::{interrupt, with_bar};
use crate::bench::statistics::{change, mean_and_deviation, median, median_change, quantile};
use crate::bench::{BenchPlan, Candidate, Measured, Report, run};
use crate::error::Error;
use crate::file::{csv_field, read_at_most};
use crate::model::synthetic::Synthetic;
use crate::trace::{self, Detail};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Time prefill and decode, full against masked, in turns.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Bench {
    #[command(subcommand)]
    what: Option<What>,
    /// Prompt tokens of the prefill test; 0 leaves it out.
    #[arg(short, long, value_name = "N", default_value_t = 128, value_parser = tokens())]
    prompt: usize,
    /// Tokens to decode; 0 leaves the decode test out.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128, value_parser = tokens())]
    answer: usize,
    /// Tokens of context that decoding begins with.
    #[arg(short, long, value_name = "N", default_value_t = 0, value_parser = tokens())]
    depth: usize,
    /// Repetitions, after one that warms up.
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = some())]
    repetitions: usize,
    /// What to compare: `none`, `routed`, `fixed:7-9,21`, `even:5`, `random:25%`, or `plain`, the model without its
    /// adapter. May be given several times: they are run in turns, and held against the one given first.
    #[arg(long = "mask", value_name = "MASK", default_value = "none")]
    masks: Vec<String>,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Md)]
    output: Output,
    /// Decode once more per repetition with GPU timestamps: write the last of these runs (see
    /// docs/trace.md), and say what the timing itself costs.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How finely to trace; `layer` disturbs less.
    #[arg(long, value_enum, value_name = "DETAIL", default_value_t = Detail::Dispatch, requires = "trace")]
    detail: Detail,
    /// Compare with a run saved by `-o json`.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Time a model of this shape with random weights instead, `llama-3.2-3b:q4_1`; see `first bench kernels --help` for
    /// others.
    #[arg(long, value_name = "SHAPE:FORMAT", conflicts_with_all = ["model", "router", "adapter"])]
    synthetic: Option<Synthetic>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    adapter: AdapterOptions,
    #[command(flatten)]
    routers: RouterOptions,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Time each kernel alone, against what the GPU's memory and arithmetic can do.
    Kernels(kernels::Kernels),
    /// Decode against the context before it, prefill against the length of the prompt.
    Scaling(Box<scaling::Lengths>),
    /// Print a run saved by `-o json`; nothing is measured.
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The saved run.
    file: PathBuf,
    /// What to compare the others with; by default the first.
    #[arg(long, value_name = "MASK")]
    base: Option<String>,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Md)]
    output: Output,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    Md,
    Csv,
    Json,
    Jsonl,
}

impl Bench {
    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        match self.what.take() {
            Some(What::Kernels(kernels)) => return kernels.run(),
            Some(What::Scaling(lengths)) => return lengths.run(),
            Some(What::Show(show)) => return show.run(),
            None => {}
        }
        let baseline = self.baseline.as_deref().map(saved).transpose()?;
        self.routers.check()?;
        self.adapter.check()?;
        anyhow::ensure!(
            !self.routers.is_given() || self.masks.iter().any(|mask| mask == "routed"),
            "`--router` alone is not timed; compare it with `--mask none --mask routed`"
        );
        anyhow::ensure!(
            baseline.is_none() || matches!(self.output, Output::Md),
            "`--baseline` is printed with `-o md` alone; leave out `-o`"
        );
        anyhow::ensure!(
            self.trace.is_none() || (self.answer > 0 && self.detail != Detail::None),
            "`--trace` has nothing to write without decoded tokens and their dispatches; leave out `-n 0` and `--detail none`"
        );
        let mut engine = match &self.synthetic {
            Some(model) => synthesise(model, &self.model)?,
            None => load_with(&self.model, &self.adapter)?,
        };
        let most = engine.model.config.context;
        let longest = self.prompt.max(self.depth.max(1) + self.answer);
        anyhow::ensure!(
            longest < most,
            "{longest} tokens do not fit the context of {most}; ask for fewer"
        );
        let beside = self.adapter.is_beside();
        let candidates = self.masks.iter().map(|name| {
            let adapted = name != "plain";
            anyhow::ensure!(
                adapted || beside,
                "`plain` leaves out an adapter that is applied at run time; give one with `--adapter DIR`"
            );
            let mask = if adapted { name } else { "none" };
            Ok(Candidate {
                name: name.clone(),
                policy: policy_named(mask, &self.routers, &mut engine)?,
                adapted,
            })
        });
        let candidates = candidates.collect::<anyhow::Result<Vec<_>>>()?;
        let plan = BenchPlan {
            prompt: self.prompt,
            answer: self.answer,
            depth: self.depth,
            repetitions: self.repetitions,
            detail: match self.trace {
                Some(_) => self.detail,
                None => Detail::None,
            },
        };
        if let Some(baseline) = &baseline {
            self.comparable(baseline, &engine.summary.name)?;
        }
        let interrupted = interrupt()?;
        let (report, traces) = with_bar("measuring", &interrupted, |progress| {
            run(&mut engine, &plan, &candidates, progress)
        })?;
        // What was measured first: a file may not be writable.
        print(&report, baseline.as_ref(), self.output)?;
        if let Some(path) = &self.trace {
            trace::write(path, &traces)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Bench {
    /// Whether a saved run times what this one is to time.
    fn comparable(&self, saved: &Report, model: &str) -> anyhow::Result<()> {
        let own = format!("{} tokens after {} of {model}", self.answer, self.depth);
        let other = format!(
            "{} tokens after {} of {}",
            saved.answer, saved.depth, saved.model.name
        );
        anyhow::ensure!(
            own == other,
            "the saved run decoded {other}, this one is to decode {own}; ask for the same"
        );
        let has = |name: &String| saved.masks.iter().any(|mask| mask.name == *name);
        anyhow::ensure!(
            self.masks.iter().all(has),
            "the saved run timed {}, which are not all of `--mask`; ask for these, or save another",
            names(saved)
        );
        Ok(())
    }
}

fn names(report: &Report) -> String {
    let names = report.masks.iter().map(|mask| mask.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

impl Show {
    fn run(self) -> anyhow::Result<ExitCode> {
        let mut report = saved(&self.file)?;
        if let Some(base) = &self.base {
            let at = report.masks.iter().position(|mask| mask.name == *base);
            let at = at.with_context(|| {
                let names = names(&report);
                format!("no mask `{base}` was measured; name one of {names}")
            })?;
            report.masks[..=at].rotate_right(1);
        }
        print(&report, None, self.output)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A run that `-o json` has saved. Someone else may have made the file.
fn saved(path: &Path) -> anyhow::Result<Report> {
    /// More than a bench of a day writes.
    const MOST_BYTES: u64 = 1 << 28;
    let remedy = "write one with `first bench -o json`";
    let refused = |what: String| Error::file(path, format!("is no saved bench: {what}"), remedy);
    let text = read_at_most(path, MOST_BYTES, remedy)?;
    let report: Report = serde_json::from_slice(&text).map_err(|e| refused(e.to_string()))?;
    let first = report.masks.first();
    let tokens = first.map_or(0, |first| first.token_nanos.len());
    let whole = match report.answer {
        0 => tokens == 0,
        answer => tokens.is_multiple_of(answer),
    };
    let alike = |measured: &Measured| measured.token_nanos.len() == tokens;
    if first.is_none() || !whole || !report.masks.iter().all(alike) {
        let what = "expected masks with as many tokens of each repetition";
        return Err(refused(what.to_owned()).into());
    }
    let masks = report.masks.iter();
    let names = masks.flat_map(|measured| [&measured.name, &measured.skipped]);
    let others = [&report.model.name, &report.gpu.name, &report.gpu.driver];
    let plain = |name: &String| !name.contains(char::is_control);
    if !names.chain(others).all(plain) {
        return Err(refused("a name holds a control character".to_owned()).into());
    }
    Ok(report)
}

fn print(report: &Report, baseline: Option<&Report>, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Md => markdown(report, baseline),
        Output::Csv => csv(report),
        Output::Json => say!("{}", serde_json::to_string_pretty(report)?),
        Output::Jsonl => report
            .masks
            .iter()
            .try_for_each(|mask| serde_json::to_string(mask).map(|line| say!("{line}")))?,
    }
    Ok(())
}

fn prefill_rates(report: &Report, measured: &Measured) -> Vec<f64> {
    measured
        .ttft_nanos
        .iter()
        .map(|nanos| report.prompt as f64 * 1e9 / *nanos as f64)
        .collect()
}

fn decode_rates(report: &Report, measured: &Measured) -> Vec<f64> {
    let times = report.tpot_nanos(measured);
    times.iter().map(|nanos| 1e9 / nanos).collect()
}

fn interval(change: Option<(f64, f64)>) -> String {
    match change {
        Some((mean, half)) => format!("{:+.1} % ± {:.1}", 100.0 * mean, 100.0 * half),
        None => "-".to_owned(),
    }
}

fn markdown(report: &Report, baseline: Option<&Report>) {
    say!(
        "{} on {} ({})",
        report.model.name,
        report.gpu.name,
        report.gpu.driver
    );
    say!();
    let base = &report.masks[0].name;
    say!(
        "| mask | skipped | weight bytes skipped | pp{} tokens/s | TTFT against {base} | tg{} @ {} tokens/s | TPOT p50 / p95 ms | TPOT against {base} | skip efficiency | encode per token |",
        report.prompt,
        report.answer,
        report.depth
    );
    say!("|---|---|---|---|---|---|---|---|---|---|");
    for measured in &report.masks {
        say!("{}", row(report, measured));
    }
    for measured in &report.masks {
        if let Some(cost) = change(&report.tpot_nanos(measured), &measured.traced_tpot_nanos) {
            say!();
            say!(
                "{}: tracing itself costs {} of TPOT",
                measured.name,
                interval(Some(cost))
            );
        }
    }
    if let Some(baseline) = baseline {
        against(report, baseline);
    }
}

/// A mask's row of the table.
fn row(report: &Report, measured: &Measured) -> String {
    let first = &report.masks[0];
    let own = std::ptr::eq(first, measured);
    let spread = |values: &[f64]| match mean_and_deviation(values) {
        Some((mean, deviation)) => format!("{mean:.1} ± {deviation:.1}"),
        None => "-".to_owned(),
    };
    let against_first = |times: &dyn Fn(&Measured) -> Vec<f64>| {
        let others = (!own).then(|| times(measured));
        let [base, own] = [times(first), others.unwrap_or_default()];
        let median = median_change(&base, &own);
        let median = median.map(|median| format!(" (median {:+.1} %)", 100.0 * median));
        interval(change(&base, &own)) + &median.unwrap_or_default()
    };
    let millis = |share| {
        quantile(&measured.token_nanos, share)
            .map_or("-".to_owned(), |nanos| format!("{:.1}", nanos as f64 / 1e6))
    };
    let efficiency = report.skip_efficiency(first, measured).filter(|_| !own);
    let tpot = median(&report.tpot_nanos(measured));
    format!(
        "| {} | {} attn, {} mlp | {:.1} % | {} | {} | {} | {} / {} | {} | {} | {} |",
        measured.name,
        measured.attn_skipped,
        measured.mlp_skipped,
        100.0 * measured.bytes_skipped,
        spread(&prefill_rates(report, measured)),
        against_first(&|measured| {
            let nanos = measured.ttft_nanos.iter();
            nanos.map(|nanos| *nanos as f64).collect()
        }),
        spread(&decode_rates(report, measured)),
        millis(0.5),
        millis(0.95),
        against_first(&|measured| report.tpot_nanos(measured)),
        efficiency.map_or("-".to_owned(), |(efficiency, half)| format!(
            "{efficiency:.2} ± {half:.2}"
        )),
        tpot.map_or("-".to_owned(), |tpot| format!(
            "{:.2} %",
            100.0 * measured.encode_nanos as f64 / tpot
        )),
    )
}

/// Prints how the times of masks of the same name differ from a saved run's.
fn against(report: &Report, baseline: &Report) {
    say!();
    say!(
        "Against the saved run on {} ({}); intervals know nothing of what differs between two processes:",
        baseline.gpu.name,
        baseline.gpu.driver
    );
    for measured in &report.masks {
        let Some(old) = baseline.masks.iter().find(|old| old.name == measured.name) else {
            continue;
        };
        let [old, new] = [baseline.tpot_nanos(old), report.tpot_nanos(measured)];
        say!("- {}: TPOT {}", measured.name, interval(change(&old, &new)));
    }
}

fn csv(report: &Report) {
    say!("mask,skipped,bytes_skipped,repetition,prompt,ttft_nanos,answer,depth,tpot_nanos");
    for measured in &report.masks {
        let tpot = report.tpot_nanos(measured);
        for repetition in 0..measured.ttft_nanos.len().max(tpot.len()) {
            let cell = |value: Option<String>| value.unwrap_or_default();
            say!(
                "{},{},{},{repetition},{},{},{},{},{}",
                csv_field(&measured.name),
                csv_field(&measured.skipped.to_string()),
                measured.bytes_skipped,
                report.prompt,
                cell(measured.ttft_nanos.get(repetition).map(u64::to_string)),
                report.answer,
                report.depth,
                cell(tpot.get(repetition).map(|nanos| format!("{nanos:.0}"))),
            );
        }
    }
}
