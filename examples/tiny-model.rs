//! Writes a generated model that tests run on: `cargo run --example tiny-model -- FILE [llama3]`.

use first_wgpu::model::tiny::{TinyOptions, write_tiny};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or_else(|| anyhow::anyhow!("expected a file to write"))?;
    let options = match arguments.next().as_deref() {
        None => TinyOptions::default(),
        Some("llama3") => TinyOptions::llama3(),
        Some(other) => anyhow::bail!("expected `llama3` or nothing, found `{other}`"),
    };
    write_tiny(&path, &options)?;
    Ok(())
}
