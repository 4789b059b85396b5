//! Reading text that the user names: on the window's thread, so never more than there is room for.

use first_wgpu::file::read_at_most;
use first_wgpu::{Error, Result};
use std::path::Path;

/// Reads a file of text of at most so many bytes; `remedy` is what to do about another.
pub(crate) fn read_text(path: &Path, most: u64, remedy: &str) -> Result<String> {
    let bytes = read_at_most(path, most, remedy)?;
    String::from_utf8(bytes).map_err(|error| Error::file(path, error.to_string(), remedy))
}
