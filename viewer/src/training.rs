//! The log of a training: JSON lines that grow while it runs. `docs/training-log.md` describes it.

use first_wgpu::train::log::VERSION;
use first_wgpu::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Logs grow for days; anything longer than this is something else.
const MOST_BYTES: u64 = 256 << 20;

/// The first line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`]; the name of the field says what the file is.
    pub first_wgpu_training: u32,
    /// What was started.
    #[serde(default)]
    pub command: String,
    /// The model that is trained.
    #[serde(default)]
    pub model: String,
    /// Its layers.
    #[serde(default)]
    pub layers: usize,
    /// The share of weights to be skipped, from 0 to 1.
    #[serde(default)]
    pub target: Option<f64>,
    /// How many steps are planned.
    #[serde(default)]
    pub steps: Option<u64>,
}

/// What was said of a step; fields that a line does not have are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Which.
    pub step: u64,
    /// Loss on the batch, in nats a token.
    pub loss: Option<f64>,
    /// Tokens that went through the model.
    pub tokens: Option<u64>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// Share of weights skipped by soft gates.
    pub skip_soft: Option<f64>,
    /// Share of weights skipped by hard gates, as at inference.
    pub skip_hard: Option<f64>,
    /// Temperature of the gates.
    pub tau: Option<f64>,
    /// Norm of the gradients before it was limited.
    pub gradient_norm: Option<f64>,
    /// Mean score of each router: attention and MLP of each layer in turn.
    pub scores: Vec<f32>,
    /// Loss on held-out answers.
    pub heldout_loss: Option<f64>,
    /// Share of weights skipped on held-out prompts.
    pub heldout_skip: Option<f64>,
    /// How many different masks held-out prompts had.
    pub heldout_masks: Option<u64>,
}

/// A log as far as it goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// Its first line.
    pub header: Header,
    /// The lines after it.
    pub steps: Vec<Step>,
}

impl Log {
    /// Whether it has all that another has, and perhaps more steps.
    pub(crate) fn goes_on_from(&self, other: &Self) -> bool {
        self.header == other.header && self.steps.starts_with(&other.steps)
    }
}

/// Reads a log, and what is added to it later.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    read: u64,
    /// The start of a line whose end is not written yet.
    rest: Vec<u8>,
    lines: usize,
    header: Option<Header>,
    /// When it was last looked at.
    looked: Option<Instant>,
}

impl Follower {
    /// Begins at the start of the file.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: 0,
            rest: Vec::new(),
            lines: 0,
            header: None,
            looked: None,
        }
    }

    /// Whether it was looked at so short a time ago.
    pub fn rests(&self, pause: Duration) -> bool {
        self.looked.is_some_and(|when| when.elapsed() < pause)
    }

    /// Takes what was added to the file into the log; says whether there was anything. A file that became
    /// shorter was begun anew, and so is the log.
    pub fn follow(&mut self, log: &mut Log) -> Result<bool> {
        let begun = self.read > 0;
        match self.advance(log) {
            // A run that goes on replaces its log, which may be longer than what was read of the one before.
            Err(_) if begun => {
                *self = Self::new(&self.path);
                self.advance(log)
            }
            done => done,
        }
    }

    fn advance(&mut self, log: &mut Log) -> Result<bool> {
        let path = self.path.clone();
        let fail = |error| Error::read(&path, error);
        self.looked = Some(Instant::now());
        let found = std::fs::metadata(&path).map_err(fail)?;
        // To open a pipe may take for ever, and a device has no end.
        if !found.is_file() {
            return Err(self.bad("expected a file".to_owned()));
        }
        let length = found.len();
        if length > MOST_BYTES {
            return Err(self.bad("is too long for a training log".to_owned()));
        }
        if length < self.read {
            *self = Self::new(&path);
            self.looked = Some(Instant::now());
        }
        let mut file = std::fs::File::open(&path).map_err(fail)?;
        file.seek(SeekFrom::Start(self.read)).map_err(fail)?;
        let mut added = file.take(length - self.read);
        let count = added.read_to_end(&mut self.rest).map_err(fail)?;
        self.read += count as u64;
        let text = std::mem::take(&mut self.rest);
        let end = text.iter().rposition(|byte| *byte == b'\n');
        let end = end.map_or(0, |end| end + 1);
        self.rest = text[end..].to_vec();
        for line in text[..end].split(|byte| *byte == b'\n') {
            self.lines += 1;
            if !line.trim_ascii().is_empty() {
                self.line(line, log)?;
            }
        }
        // What splits after the last newline is no line.
        self.lines -= 1;
        Ok(end > 0)
    }

    fn line(&mut self, line: &[u8], log: &mut Log) -> Result<()> {
        let here = self.lines;
        if self.header.is_none() {
            let header: Header = serde_json::from_slice(line)
                .map_err(|error| self.bad(format!("line {here}: no training log: {error}")))?;
            let version = header.first_wgpu_training;
            if version != VERSION {
                return Err(self.bad(format!("expected version {VERSION}, found {version}")));
            }
            *log = Log {
                header: header.clone(),
                steps: Vec::new(),
            };
            self.header = Some(header);
            return Ok(());
        }
        let step = serde_json::from_slice(line)
            .map_err(|error| self.bad(format!("line {here}: {error}")))?;
        log.steps.push(step);
        Ok(())
    }

    fn bad(&self, what: String) -> Error {
        let remedy = "give a log of `first train`; docs/training-log.md describes it";
        Error::file(&self.path, what, remedy)
    }
}

/// Reads a whole log.
pub fn load(path: &Path) -> Result<Log> {
    let mut log = Log::default();
    let mut follower = Follower::new(path);
    follower.follow(&mut log)?;
    match follower.header {
        Some(_) => Ok(log),
        None => Err(follower.bad("line 1: no training log".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_is_followed_while_it_grows_and_when_it_begins_anew() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut write = |text: &str| {
            file.write_all(text.as_bytes()).expect("writable");
            file.path().to_owned()
        };
        let path = write("{\"first_wgpu_training\": 1, \"layers\": 2, \"later\": 0}\n{\"st");
        let mut follower = Follower::new(&path);
        let mut log = Log::default();
        assert!(follower.follow(&mut log).expect("a log"));
        assert_eq!((log.header.layers, log.steps.len()), (2, 0));
        assert!(!follower.follow(&mut log).expect("nothing new"));
        write("ep\": 1, \"loss\": 2.5}\n{\"step\": 2, \"heldout_loss\": 3.0}\n");
        assert!(follower.follow(&mut log).expect("more"));
        assert_eq!(log.steps[0].loss, Some(2.5));
        assert_eq!(log.steps[1].heldout_loss, Some(3.0));
        write("nonsense\n");
        let error = follower.follow(&mut log).expect_err("refused").to_string();
        assert!(
            error.contains("line 4") && error.contains("docs/"),
            "{error}"
        );
        std::fs::write(&path, "{\"first_wgpu_training\": 1, \"layers\": 3}\n").expect("written");
        assert!(follower.follow(&mut log).expect("begun anew"));
        assert_eq!((log.header.layers, log.steps.len()), (3, 0));
        // A longer one is in its place: what was read ends within its first line.
        let longer = "{\"first_wgpu_training\": 1, \"layers\": 4, \"evaluate\": 50}\n{\"step\": 1, \"loss\": 1.5}\n";
        std::fs::write(&path, longer).expect("written");
        assert!(follower.follow(&mut log).expect("begun anew"));
        assert_eq!((log.header.layers, log.steps.len()), (4, 1));
    }

    /// A log is saved as a part of a session: what `first train` writes comes back.
    #[test]
    fn what_is_said_of_a_step_is_kept() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let lines = [
            "{\"first_wgpu_training\": 1}",
            "{\"step\": 1, \"loss\": 2.5, \"gradient_norm\": 0.75, \"scores\": []}",
            "{\"step\": 1, \"heldout_loss\": 3.0, \"heldout_masks\": 7}",
        ];
        std::fs::write(file.path(), lines.join("\n") + "\n").expect("written");
        let saved = serde_json::to_value(load(file.path()).expect("a log")).expect("plain data");
        assert_eq!(saved["steps"][0]["gradient_norm"], 0.75);
        assert_eq!(saved["steps"][1]["heldout_masks"], 7);
    }

    #[test]
    fn a_log_is_looked_at_now_and_then() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut follower = Follower::new(file.path());
        let long = Duration::from_secs(3600);
        assert!(!follower.rests(long), "at first at once");
        follower.follow(&mut Log::default()).expect("it is empty");
        assert!(follower.rests(long) && !follower.rests(Duration::ZERO));
    }

    #[test]
    fn what_is_no_file_is_no_log() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut follower = Follower::new(folder.path());
        let error = follower.follow(&mut Log::default()).expect_err("refused");
        assert!(error.to_string().contains("expected a file"), "{error}");
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        for (text, needle) in [
            ("", "no training log"),
            ("{}\n", "no training log"),
            ("{\"first_wgpu_training\": 2}\n", "found 2"),
        ] {
            std::fs::write(file.path(), text).expect("written");
            let error = load(file.path()).expect_err(needle).to_string();
            assert!(error.contains(needle), "{error}");
        }
    }
}
