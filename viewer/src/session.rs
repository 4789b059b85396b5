//! A session: the runs that are looked at. `docs/session.md` describes the file.

use first_wgpu::file::write_whole;
use first_wgpu::trace::{self, Run};
use first_wgpu::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the format that this build writes and reads.
pub const VERSION: u32 = 1;

const FORMAT: &str = "first-session";

/// Runs in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// What ran.
    pub runs: Vec<Run>,
}

#[derive(Serialize, Deserialize)]
struct File<T> {
    format: String,
    version: u32,
    runs: T,
}

#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

impl Session {
    /// Reads a session, or a trace of `first run --trace`.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, error))?;
        // A trace is lines of JSON, the first of them its header.
        let first = text.lines().next().unwrap_or_default();
        if serde_json::from_str::<Header>(first).is_ok_and(|header| header.format != FORMAT) {
            let runs = trace::read(path)?;
            return Self { runs }.checked(path);
        }
        let bad = |message: String| {
            Error::file(
                path,
                message,
                "give a session saved by this version of the viewer, or a trace",
            )
        };
        let header: Header =
            serde_json::from_str(&text).map_err(|error| bad(format!("no session: {error}")))?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(bad(format!(
                "expected `{FORMAT}` version {VERSION}, found `{}` version {}",
                header.format, header.version
            )));
        }
        let file: File<Vec<Run>> =
            serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        Self { runs: file.runs }.checked(path)
    }

    /// Panels index by layer and by token: a file that contradicts itself is refused here.
    fn checked(self, path: &Path) -> Result<Self> {
        for (index, run) in self.runs.iter().enumerate() {
            let layers = run.mask.layers();
            let model = &run.model;
            let sizes = [model.layers, model.attn_bytes.len(), model.mlp_bytes.len()];
            let sound = sizes.iter().all(|size| *size == layers)
                && run.scores.iter().all(|score| score.layer < layers)
                && run.prompt_pieces.len() == run.prompt_ids.len();
            if !sound {
                return Err(Error::file(
                    path,
                    format!(
                        "run {} contradicts itself: layers, scores or tokens do not fit",
                        index + 1
                    ),
                    "the file is damaged; save it again",
                ));
            }
        }
        Ok(self)
    }

    /// Saves it, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = File {
            format: FORMAT.to_owned(),
            version: VERSION,
            runs: &self.runs,
        };
        write_whole(path, |out| {
            serde_json::to_writer(&mut *out, &file)?;
            writeln!(out)
        })
    }
}
