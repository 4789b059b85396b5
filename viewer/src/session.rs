//! A session: all that is looked at. `docs/session.md` describes the file.

use crate::read::read_text;
use crate::training::Log;
use first_wgpu::file::write_whole;
use first_wgpu::router::CalibrationPoint;
use first_wgpu::trace::{self, Run};
use first_wgpu::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The version of the format that this build writes and reads.
pub const VERSION: u32 = 2;

const FORMAT: &str = "first-session";

/// Runs with every dispatch timed are long; anything longer than this is something else.
const MOST_BYTES: u64 = 1 << 30;

/// What to do about a file that is none.
const REMEDY: &str =
    "give a session saved by this version of the viewer, a trace, or a training log";

/// A few runs of the default model, to look at without a model and without a GPU.
const DEMO: &str = include_str!("../demo.json");

/// What was run and what was measured of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// What ran, in the order in which it did.
    pub runs: Vec<Run>,
    /// What the router's thresholds skip on the prompts of calibration examples, from its file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calibration: Vec<CalibrationPoint>,
    /// Runs compared with the full model, token by token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agreements: Vec<Agreement>,
    /// Policies compared at the same rate; the first skips nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Control>,
    /// Of what they were measured; not known of older sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controls_of: Option<Measured>,
    /// A training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Log>,
}

/// Of what model something was measured, and on what GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The model's name.
    pub model: String,
    /// The GPU's.
    pub gpu: String,
}

/// How the next-token distributions of a run differ from the full model's, given the same answer so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Which run of the session.
    pub run: usize,
    /// Kullback-Leibler divergence from the full model at each answer token, in nats.
    pub kl: Vec<f32>,
    /// Whether both find the same token likeliest.
    pub agrees: Vec<bool>,
}

/// What one policy costs and saves on a set of prompts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// `none`, `routed`, `fixed`, `random` or `even`.
    pub name: String,
    /// What it skips on each prompt.
    pub masks: Vec<String>,
    /// The share of the layers' weights that is.
    pub skipped: Vec<f64>,
    /// Mean loss of each answer's tokens, in nats.
    pub losses: Vec<f64>,
    /// How many tokens each has; not known of older sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<usize>,
    /// Mean time per output token of each repetition, in nanoseconds.
    pub tpot_nanos: Vec<f64>,
}

#[derive(Serialize)]
struct Written<'a> {
    format: &'a str,
    version: u32,
    #[serde(flatten)]
    session: &'a Session,
}

#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// What a file is that opens as a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A session, which *Save* may replace.
    Session,
    /// A trace of `first run --trace`.
    Trace,
    /// A training log, which may grow.
    Log,
}

impl Session {
    /// The recorded session that comes with the viewer.
    pub fn demo() -> Self {
        serde_json::from_str(DEMO).expect("a test reads the recorded session")
    }

    /// Reads a session, a trace of `first run --trace`, or a training log.
    pub fn load(path: &Path) -> Result<Self> {
        Ok(Self::load_as(path)?.0)
    }

    /// The same, and says which it was: to find that out again would take as long.
    pub fn load_as(path: &Path) -> Result<(Self, Kind)> {
        let text = read_text(path, MOST_BYTES, REMEDY)?;
        // Traces and logs are lines of JSON, the first of them a header.
        let first = text.lines().next().unwrap_or_default();
        // Of a session that is one line, parsing it takes long: once is enough.
        let header = serde_json::from_str::<Header>(first);
        if header.as_ref().is_ok_and(|header| header.format != FORMAT) {
            let runs = trace::read(path)?;
            let session = Self {
                runs,
                ..Self::default()
            };
            return Ok((session.checked(path)?, Kind::Trace));
        }
        if header.is_err() && serde_json::from_str::<crate::training::Header>(first).is_ok() {
            let session = Self {
                training: Some(crate::training::load(path)?),
                ..Self::default()
            };
            return Ok((session, Kind::Log));
        }
        let bad = |message: String| Error::file(path, message, REMEDY);
        let header = header.or_else(|_| serde_json::from_str(&text));
        let header: Header = header.map_err(|error| bad(format!("no session: {error}")))?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(bad(format!(
                "expected `{FORMAT}` version {VERSION}, found `{}` version {}",
                header.format, header.version
            )));
        }
        let session: Self = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        Ok((session.checked(path)?, Kind::Session))
    }

    /// Panels index by layer and by token: a file that contradicts itself is refused here.
    fn checked(self, path: &Path) -> Result<Self> {
        let wrong = |what: String| {
            let message = format!("{what} contradicts itself: its parts do not fit one another");
            Error::file(path, message, "the file is damaged; save it again")
        };
        for (index, run) in self.runs.iter().enumerate() {
            let layers = run.mask.layers();
            let model = &run.model;
            let sizes = [model.layers, model.attn_bytes.len(), model.mlp_bytes.len()];
            let sound = layers > 0
                && sizes.iter().all(|size| *size == layers)
                && run.scores.iter().all(|score| {
                    score.layer < layers && score.tokens.len() <= run.prompt_ids.len()
                })
                && run
                    .dispatches
                    .iter()
                    .all(|at| at.layer.is_none_or(|layer| layer < layers))
                && run.prompt_pieces.len() == run.prompt_ids.len();
            if !sound {
                return Err(wrong(format!("run {}", index + 1)));
            }
        }
        let measured = |agreement: &Agreement| {
            agreement.run < self.runs.len() && agreement.kl.len() == agreement.agrees.len()
        };
        if !self.agreements.iter().all(measured) {
            return Err(wrong("a comparison with the full model".to_owned()));
        }
        let paired = |control: &Control| {
            let tokens = control.tokens.is_empty() || control.tokens.len() == control.masks.len();
            tokens && [control.losses.len(), control.skipped.len()] == [control.masks.len(); 2]
        };
        if !self.controls.iter().all(paired) {
            return Err(wrong("a comparison of policies".to_owned()));
        }
        Ok(self)
    }

    /// What a run is compared with at first: the first other that skips nothing, or the first other at all; itself
    /// where there is none.
    pub fn other_run(&self, run: usize) -> usize {
        let mut others = (0..self.runs.len()).filter(|other| *other != run);
        let full = others
            .clone()
            .find(|other| self.runs[*other].mask.is_full());
        full.or(others.next()).unwrap_or(run)
    }

    /// What was measured of a run against the full model.
    pub fn agreement(&self, run: usize) -> Option<&Agreement> {
        self.agreements
            .iter()
            .rev()
            .find(|agreement| agreement.run == run)
    }

    /// Saves it, whole or not at all, over nothing but a session.
    pub fn save(&self, path: &Path) -> Result<()> {
        if path.exists() && !is_session(path) {
            let found = "there is something else than a session";
            return Err(Error::file(path, found, "give another name to save to"));
        }
        let written = Written {
            format: FORMAT,
            version: VERSION,
            session: self,
        };
        let mut text = serde_json::to_vec(&written).expect("sessions are plain data");
        text.push(b'\n');
        if text.len() as u64 > MOST_BYTES {
            let found = format!(
                "the session has {} MiB, more than is read",
                text.len() >> 20
            );
            let remedy = "press *Forget all times* on the tab *Timings*, and save again";
            return Err(Error::file(path, found, remedy));
        }
        write_whole(path, |out| out.write_all(&text))
    }
}

/// Whether a file is a session, of any version: traces and logs have names that end as sessions' do.
pub(crate) fn is_session(path: &Path) -> bool {
    // A device may have no end.
    let file = path.is_file().then(|| File::open(path));
    let Some(Ok(file)) = file else { return false };
    // One that is longer could not be opened either.
    let short = file.metadata().is_ok_and(|found| found.len() <= MOST_BYTES);
    if !short {
        return false;
    }
    let header: serde_json::Result<Header> = serde_json::from_reader(BufReader::new(file));
    header.is_ok_and(|header| header.format == FORMAT)
}
