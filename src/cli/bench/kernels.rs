//! `first bench kernels`.

use super::super::options::report_ignored;
use super::super::progress::interrupt;
use crate::bench::kernels::{KernelPlan, KernelReport, run};
use crate::gpu::Gpu;
use crate::model::synthetic::{config, shape_names};
use crate::pull;
use crate::weights::Format;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// Time each kernel alone, against what the GPU's memory and arithmetic can do.
#[derive(Debug, clap::Args)]
pub(super) struct Kernels {
    /// `smollm2-135m`, `llama-3.2-1b`, `llama-3.2-3b`, `llama-3.1-8b` or `all`; several are timed in a row.
    #[arg(long = "shape", value_name = "SHAPE", default_value = "smollm2-135m")]
    shapes: Vec<String>,
    /// Formats of the weight matrices; `all` for every one. Where rows are not whole blocks of 256, `q4_k` is timed as
    /// `q5_0`, `q5_k` as `q5_1` and `q6_k` as `q8_0`, as files have it.
    #[arg(long = "format", value_name = "FORMAT", default_values_t = ["q4_1".to_owned(), "q8_0".to_owned()])]
    formats: Vec<String>,
    /// Only kernels whose name contains this: `matvec`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    kernel: String,
    /// Tokens of a prefill.
    #[arg(short, long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    prompt: u32,
    /// Tokens of context of a decoded token.
    #[arg(short, long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=32768))]
    depth: u32,
    /// Repetitions, after one that warms up.
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// The GPU, by index, or part of its name or backend (see `first devices`).
    #[arg(long, value_name = "GPU")]
    device: Option<String>,
    /// Print everything as JSON, each repetition included.
    #[arg(long)]
    json: bool,
}

impl Kernels {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let shapes: Vec<&str> = if self.shapes.iter().any(|shape| shape == "all") {
            shape_names().collect()
        } else {
            self.shapes.iter().map(String::as_str).collect()
        };
        let formats = if self.formats.iter().any(|format| format == "all") {
            Format::ALL.to_vec()
        } else {
            self.formats
                .iter()
                .map(|name| format(name))
                .collect::<anyhow::Result<_>>()?
        };
        let plan = KernelPlan {
            shapes: shapes.into_iter().map(config).collect::<Result<_, _>>()?,
            formats,
            kernel: self.kernel,
            tokens: self.prompt as usize,
            depth: self.depth as usize,
            rounds: self.repetitions as usize,
        };
        let cache = pull::cache_folder().ok();
        let gpu = Gpu::open_with(self.device.as_deref(), cache.as_deref())?;
        report_ignored(&gpu);
        let bar = indicatif::ProgressBar::new_spinner();
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        let interrupted = interrupt()?;
        let report = run(&gpu, &plan, &mut |next| {
            bar.set_message(format!("timing {next}"));
            if interrupted.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        bar.finish_and_clear();
        if self.json {
            say!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print(&report);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn format(name: &str) -> anyhow::Result<Format> {
    Format::from_name(name).ok_or_else(|| {
        let names = Format::ALL.map(Format::name).join("`, `");
        anyhow::anyhow!("`{name}` is no weight format; give one of `{names}` or `all`")
    })
}

fn print(report: &KernelReport) {
    let (copy, flops) = (report.copy_rate / 1e9, report.flop_rate / 1e9);
    say!("{} ({})", report.gpu.name, report.gpu.driver);
    say!("roofs: {copy:.1} GB/s of copying, {flops:.1} GFLOP/s of multiply-adds");
    say!(
        "a dispatch that does next to nothing: {:.1} µs",
        report.dispatch_nanos / 1e3
    );
    if !report.timestamps {
        say!("this GPU has no timestamps: times are the host's, waiting included");
    }
    say!();
    say!("| shape | kernel | part | format | time, µs | GB/s | GFLOP/s | share of the roof |");
    say!("|---|---|---|---|---|---|---|---|");
    for kernel in &report.kernels {
        let nanos = kernel.median_nanos();
        let (bytes, work) = (kernel.bytes as f64 / nanos, kernel.flops as f64 / nanos);
        say!(
            "| {} | {} | {} | {} | {:.1} | {bytes:.2} | {work:.2} | {:.0} % |",
            kernel.shape,
            kernel.kernel,
            kernel.part,
            kernel.format,
            nanos / 1e3,
            100.0 * (bytes / copy).max(work / flops)
        );
    }
    if report.fusions.is_empty() {
        return;
    }
    say!();
    say!("| shape | fused | time, fused against apart |");
    say!("|---|---|---|");
    for fusion in &report.fusions {
        let gain = fusion.gain().map_or("-".to_owned(), |(mean, half)| {
            format!("{:+.1} % ± {:.1}", 100.0 * mean, 100.0 * half)
        });
        say!("| {} | {} | {gain} |", fusion.shape, fusion.name);
    }
}
