//! `first devices`.

use super::progress::{interrupt, with_bar};
use crate::bench::tune::tune;
use crate::gpu::Gpu;
use crate::pull;
use std::path::Path;
use std::process::ExitCode;

/// List the GPUs that models can run on, and what was tuned for them.
#[derive(Debug, clap::Args)]
pub(super) struct Devices {
    /// Time the candidates of the kernels on one GPU, and keep the fastest for later runs.
    #[arg(long)]
    tune: bool,
    /// The GPU to tune for, by index, or part of its name or backend.
    #[arg(long, value_name = "GPU", requires = "tune")]
    device: Option<String>,
    /// Repetitions of each candidate.
    #[arg(short, long, value_name = "N", default_value_t = 10, requires = "tune", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
}

impl Devices {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = pull::cache_folder()?;
        if self.tune {
            self.tune(&folder)?;
        } else {
            list(&folder)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn tune(&self, folder: &Path) -> anyhow::Result<()> {
        let mut gpu = Gpu::open(self.device.as_deref())?;
        let rounds = self.repetitions as usize;
        let interrupted = interrupt()?;
        let timed = with_bar("tuning", &interrupted, |progress| {
            tune(&mut gpu, rounds, progress)
        })?;
        say!("{} ({})", gpu.summary.name, gpu.summary.driver);
        say!();
        say!("| kernel | candidate | time, µs |");
        say!("|---|---|---|");
        for (tuning, kernel, nanos) in timed {
            say!("| {kernel} | {tuning} | {:.0} |", nanos / 1e3);
        }
        gpu.class.tuning.store(folder, &gpu.summary)?;
        say!();
        say!("kept for this GPU and driver: {}", gpu.class.tuning);
        Ok(())
    }
}

fn list(folder: &Path) -> anyhow::Result<()> {
    let adapters = Gpu::list();
    if adapters.is_empty() {
        // Opening says what to install.
        Gpu::open(None)?;
    }
    for (index, adapter) in adapters.iter().enumerate() {
        say!(
            "{index}  {}  ({}, {}, {})",
            adapter.name,
            adapter.kind,
            adapter.backend,
            adapter.driver
        );
        // An adapter that cannot be opened is still listed.
        let Ok(gpu) = Gpu::open_with(Some(&index.to_string()), Some(folder)) else {
            say!("   cannot be opened");
            continue;
        };
        super::options::report_ignored(&gpu);
        let tuned = if gpu.tuned { "tuned" } else { "not tuned" };
        say!("   {tuned}: {}", gpu.class.tuning);
    }
    Ok(())
}
