//! Rebuilds the crate when a file changes that is embedded in it.
fn main() {
    println!("cargo::rerun-if-changed=shaders");
    println!("cargo::rerun-if-changed=adapters");
}
