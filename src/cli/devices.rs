//! `first devices`.

use crate::gpu::Gpu;
use std::process::ExitCode;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    let adapters = Gpu::list();
    if adapters.is_empty() {
        // Opening says what to install.
        Gpu::open(None)?;
    }
    for (index, adapter) in adapters.iter().enumerate() {
        println!(
            "{index}  {}  ({}, {}, {})",
            adapter.name, adapter.kind, adapter.backend, adapter.driver
        );
    }
    Ok(ExitCode::SUCCESS)
}
