//! Rebuilds the crate when a shader changes: the shaders are embedded as files.
fn main() {
    println!("cargo::rerun-if-changed=shaders");
}
