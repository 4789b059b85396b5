//! Composing WGSL files: one directive, `#import name`, resolved once per shader.
//!
//! A name is looked up in the variant's own choices first (`weights` -> `weights/q4_1`), then under
//! `shaders/lib/`. That is how one kernel serves every weight format and every kind of GPU: what
//! differs is a file with the same contract, not an `#if`.

use crate::error::{Error, Result};
use include_dir::{Dir, include_dir};

static SHADERS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/shaders");

/// What to do about an error in the shaders themselves.
const REMEDY: &str = "this is a defect of first-wgpu";

/// One way to compose and specialise a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The kernel: `shaders/<kernel>.wgsl`.
    pub kernel: &'static str,
    /// What the kernel's `#import` names stand for, as paths under `shaders/` without `.wgsl`.
    pub imports: Vec<(&'static str, &'static str)>,
    /// Values of `override` constants that differ from their defaults, as the bits of an `f64` so that
    /// variants can be compared and hashed.
    overrides: Vec<(&'static str, u64)>,
}

impl Variant {
    /// The kernel as its file stands.
    pub fn new(kernel: &'static str) -> Self {
        Self {
            kernel,
            imports: Vec::new(),
            overrides: Vec::new(),
        }
    }

    /// Binds an `#import` name to a file under `shaders/`.
    pub fn import(mut self, name: &'static str, path: &'static str) -> Self {
        self.imports.push((name, path));
        self
    }

    /// Sets an `override` constant.
    pub fn set(mut self, constant: &'static str, value: impl Into<f64>) -> Self {
        self.overrides.push((constant, value.into().to_bits()));
        self
    }

    /// The `override` constants that were set.
    pub fn overrides(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.overrides
            .iter()
            .map(|(name, bits)| (*name, f64::from_bits(*bits)))
    }

    /// The name used in messages and traces: the kernel and what it is composed of.
    pub fn name(&self) -> String {
        let parts = self
            .imports
            .iter()
            .map(|(_, path)| path.rsplit('/').next().unwrap_or(path));
        std::iter::once(self.kernel)
            .chain(parts)
            .collect::<Vec<_>>()
            .join("+")
    }

    /// The whole WGSL source, imports in place of their directives.
    pub fn source(&self) -> Result<String> {
        let mut composer = Composer {
            imports: &self.imports,
            done: Vec::new(),
            open: Vec::new(),
            source: String::new(),
        };
        composer.file(self.kernel, "the host", 0)?;
        Ok(composer.source)
    }
}

struct Composer<'a> {
    imports: &'a [(&'static str, &'static str)],
    done: Vec<String>,
    open: Vec<String>,
    source: String,
}

impl Composer<'_> {
    fn file(&mut self, path: &str, importer: &str, line: usize) -> Result<()> {
        let fail = |what: String| Err(Error::gpu(format!("{importer}:{line}: {what}"), REMEDY));
        if self.open.iter().any(|open| open == path) {
            return fail(format!("cyclic import of `{path}`"));
        }
        if self.done.iter().any(|done| done == path) {
            return Ok(());
        }
        let Some(text) = SHADERS
            .get_file(format!("{path}.wgsl"))
            .and_then(|file| file.contents_utf8())
        else {
            return fail(format!("no shader file `{path}.wgsl`"));
        };
        self.open.push(path.to_owned());
        for (index, text_line) in text.lines().enumerate() {
            match text_line.trim().strip_prefix("#import ") {
                Some(name) => {
                    let name = name.trim();
                    let bound = self.imports.iter().find(|(bound, _)| *bound == name);
                    let target =
                        bound.map_or_else(|| format!("lib/{name}"), |(_, path)| (*path).to_owned());
                    self.file(&target, &format!("shaders/{path}.wgsl"), index + 1)?;
                }
                None => {
                    self.source.push_str(text_line);
                    self.source.push('\n');
                }
            }
        }
        self.open.pop();
        self.done.push(path.to_owned());
        Ok(())
    }
}

/// The names of all kernels: the files directly under `shaders/`.
pub fn kernels() -> Vec<&'static str> {
    let mut names: Vec<_> = SHADERS
        .files()
        .filter_map(|file| file.path().file_stem()?.to_str())
        .collect();
    names.sort_unstable();
    names
}
