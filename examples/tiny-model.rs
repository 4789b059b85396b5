//! Writes the generated model that tests run on: `cargo run --example tiny-model -- FILE`.

use first_wgpu::model::tiny::{TinyOptions, write_tiny};

fn main() -> anyhow::Result<()> {
    let path = std::env::args()
        .nth(1)
        .ok_or_else(|| anyhow::anyhow!("expected a file to write"))?;
    write_tiny(&path, &TinyOptions::default())?;
    Ok(())
}
