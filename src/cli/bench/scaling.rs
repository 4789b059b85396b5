//! `first bench scaling`.

use super::super::options::{ModelOptions, load, some, synthesise, tokens};
use super::super::progress::{interrupt, with_bar};
use crate::bench::plot::{Chart, Series, svg};
use crate::bench::scaling::{Scaling, ScalingPlan, line, medians, run};
use crate::bench::statistics::mean_and_deviation;
use crate::file::write_whole;
use crate::model::synthetic::Synthetic;
use std::path::PathBuf;
use std::process::ExitCode;

/// Decode against the context before it, prefill against the length of the prompt.
#[derive(Debug, clap::Args)]
pub(super) struct Lengths {
    /// Tokens of context that decoding begins with.
    #[arg(short, long, value_name = "N,N", value_delimiter = ',', default_values_t = [0, 1024, 4096], value_parser = tokens())]
    depths: Vec<usize>,
    /// Lengths of prompts.
    #[arg(short, long, value_name = "N,N", value_delimiter = ',', default_values_t = [32, 128, 512, 1024, 2048], value_parser = tokens())]
    prompts: Vec<usize>,
    /// Tokens to decode at each depth.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 32, value_parser = tokens())]
    answer: usize,
    /// Repetitions, after one that warms up.
    #[arg(short, long, value_name = "N", default_value_t = 3, value_parser = some())]
    repetitions: usize,
    /// Draw both as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print everything as JSON, each repetition included.
    #[arg(long)]
    json: bool,
    /// Time a model of this shape with random weights instead: `llama-3.2-3b:q4_1`.
    #[arg(long, value_name = "SHAPE:FORMAT", conflicts_with = "model")]
    synthetic: Option<Synthetic>,
    #[command(flatten)]
    model: ModelOptions,
}

impl Lengths {
    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        let mut engine = match &self.synthetic {
            Some(model) => synthesise(model, &self.model)?,
            None => load(&self.model)?,
        };
        self.depths.sort_unstable();
        self.prompts.sort_unstable();
        let deepest = self
            .depths
            .last()
            .map_or(0, |depth| depth.max(&1) + self.answer + 1);
        let longest = deepest.max(self.prompts.last().map_or(0, |prompt| prompt + 1));
        let most = engine.model.config.context;
        anyhow::ensure!(
            longest <= most,
            "{longest} tokens do not fit the context of {most}; ask for fewer"
        );
        anyhow::ensure!(
            self.prompts.first() != Some(&0),
            "a prompt of no tokens has no time; leave out the 0"
        );
        let plan = ScalingPlan {
            depths: self.depths,
            prompts: self.prompts,
            answer: self.answer,
            repetitions: self.repetitions,
        };
        let interrupted = interrupt()?;
        let scaling = with_bar("measuring", &interrupted, |progress| {
            run(&mut engine, &plan, progress)
        })?;
        // What was measured first: a file may not be writable.
        if self.json {
            say!("{}", serde_json::to_string_pretty(&scaling)?);
        } else {
            print(&scaling);
        }
        if let Some(path) = &self.svg {
            write_whole(path, |file| file.write_all(draw(&scaling).as_bytes()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Time per output token in milliseconds by depth, and per prompt token by length.
fn curves(scaling: &Scaling) -> [Vec<(f64, f64)>; 2] {
    let decode = medians(&scaling.decode).into_iter();
    let prefill = medians(&scaling.prefill).into_iter();
    [
        decode.map(|(depth, nanos)| (depth, nanos / 1e6)).collect(),
        prefill
            .map(|(length, nanos)| (length, nanos / 1e6 / length))
            .collect(),
    ]
}

fn draw(scaling: &Scaling) -> String {
    let [decode, prefill] = curves(scaling);
    let mut charts = Vec::new();
    if !decode.is_empty() {
        charts.push(Chart {
            title: "Decode: ms per token",
            x_label: "tokens of context",
            line: line(&decode),
            series: vec![Series {
                name: "decode",
                points: decode,
            }],
            from_zero: true,
        });
    }
    if !prefill.is_empty() {
        charts.push(Chart {
            title: "Prefill: ms per prompt token",
            x_label: "tokens of the prompt",
            line: line(&prefill),
            series: vec![Series {
                name: "prefill",
                points: prefill,
            }],
            from_zero: true,
        });
    }
    svg(&charts)
}

fn print(scaling: &Scaling) {
    say!(
        "{} on {} ({})",
        scaling.model.name,
        scaling.gpu.name,
        scaling.gpu.driver
    );
    say!();
    let spread = |values: &[f64]| {
        mean_and_deviation(values).map_or("-".to_owned(), |(mean, deviation)| {
            format!("{mean:.1} ± {deviation:.1}")
        })
    };
    say!("| decode after | ms per token | tokens/s |");
    say!("|---|---|---|");
    for (depth, nanos) in &scaling.decode {
        let millis: Vec<f64> = nanos.iter().map(|nanos| nanos / 1e6).collect();
        let rates: Vec<f64> = nanos.iter().map(|nanos| 1e9 / nanos).collect();
        say!("| {depth} | {} | {} |", spread(&millis), spread(&rates));
    }
    say!();
    say!("| prefill of | ms | tokens/s |");
    say!("|---|---|---|");
    for (length, nanos) in &scaling.prefill {
        let millis: Vec<f64> = nanos.iter().map(|nanos| nanos / 1e6).collect();
        let rates: Vec<f64> = nanos
            .iter()
            .map(|nanos| *length as f64 * 1e9 / nanos)
            .collect();
        say!("| {length} | {} | {} |", spread(&millis), spread(&rates));
    }
    let [decode, prefill] = curves(scaling);
    say!();
    if let Some((start, slope)) = line(&decode) {
        let bytes = scaling.kv_bytes_per_position as f64;
        say!(
            "A decoded token takes {start:.1} ms and {:.2} µs more for each position before it: \
             {:.1} KiB of keys and values, read at {:.2} GB/s.",
            1e3 * slope,
            bytes / 1024.0,
            bytes / (1e6 * slope)
        );
    }
    if let Some((start, slope)) = line(&prefill) {
        say!(
            "A prompt token takes {start:.2} ms and {:.2} µs more for each token of the prompt: \
             attention to half of them on average, {:.2} µs a position.",
            1e3 * slope,
            2e3 * slope
        );
    }
}
