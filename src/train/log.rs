//! The log of a run: JSON lines, which the viewer plots while they grow. `docs/training-log.md` describes them.

use crate::error::{Error, Result};
use crate::file::write_whole;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The version of the format that this build writes.
pub const VERSION: u32 = 1;

/// Its name in the folder of a run.
pub const FILE: &str = "training.jsonl";

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub first_wgpu_training: u32,
    /// The command that began the run.
    pub command: String,
    /// The model's name.
    pub model: String,
    /// Its layers.
    pub layers: usize,
    /// Share of the layers' weight bytes to skip.
    pub target: f32,
    /// Steps of the whole run.
    pub steps: u32,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// From 1.
    pub step: u32,
    /// Mean loss of its texts, in nats a token of the answers.
    pub loss: f64,
    /// Tokens that went through the model.
    pub tokens: usize,
    /// How long it took.
    pub seconds: f64,
    /// Share of the layers' weight bytes that its gates closed.
    pub skip_soft: f64,
    /// What would be skipped if the routers had decided.
    pub skip_hard: f64,
    /// Temperature of the gates; none once the routers are frozen.
    pub tau: Option<f32>,
    /// Norm of the gradients before they were scaled down.
    pub gradient_norm: f64,
    /// Mean scores over its texts, attention and MLP of each layer in turn.
    pub scores: Vec<f32>,
}

/// A look at texts that are not trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationLine {
    /// Steps done.
    pub step: u32,
    /// Mean loss, of tasks alike, as the model would be served.
    pub heldout_loss: f64,
    /// Share of the layers' weight bytes skipped.
    pub heldout_skip: f64,
    /// How many different masks there were.
    pub heldout_masks: usize,
}

/// A log that is written to.
pub struct Log {
    path: PathBuf,
    file: File,
}

#[derive(Deserialize)]
struct AnyLine {
    step: Option<u32>,
}

impl Log {
    /// Begins a log, or goes on with one, of which what came after `step` is dropped.
    pub fn open(folder: &Path, header: &Header, step: u32) -> Result<Self> {
        let path = folder.join(FILE);
        let old = match step {
            0 => String::new(),
            _ => read(&path)?,
        };
        let kept = |line: &&str| {
            serde_json::from_str::<AnyLine>(line)
                .is_ok_and(|line| line.step.is_some_and(|at| at <= step))
        };
        write_whole(&path, |file| {
            writeln!(file, "{}", json(header))?;
            old.lines()
                .filter(kept)
                .try_for_each(|line| writeln!(file, "{line}"))
        })?;
        let file = File::options()
            .append(true)
            .open(&path)
            .map_err(|error| Error::write(&path, error))?;
        Ok(Self { path, file })
    }

    /// Appends a line.
    pub fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let text = json(line) + "\n";
        self.file
            .write_all(text.as_bytes())
            .map_err(|error| Error::write(&self.path, error))
    }

    /// Waits until the lines are where they outlast a loss of power, ahead of a checkpoint that goes on behind them.
    pub fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|error| Error::write(&self.path, error))
    }
}

/// The last look at held-out texts that a folder's log tells of.
pub fn last_evaluation(folder: &Path) -> Result<Option<EvaluationLine>> {
    let text = read(&folder.join(FILE))?;
    let mut lines = text.lines().rev();
    Ok(lines.find_map(|line| serde_json::from_str(line).ok()))
}

/// A log's text; of none it is empty, and of one that was torn the lines that are whole can be read: a run does not need it
/// to go on.
fn read(path: &Path) -> Result<String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::read(path, error)),
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("lines are plain data")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            first_wgpu_training: VERSION,
            command: "first train".to_owned(),
            model: "tiny".to_owned(),
            layers: 4,
            target: 0.1,
            steps: 3,
        }
    }

    /// What a killed run has left half written, and what came after the checkpoint, is dropped.
    #[test]
    fn a_log_goes_on_behind_a_checkpoint() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(FILE);
        let lines = [
            "{\"log\":\"of another start\"}",
            "{\"step\":1}",
            "{\"step\":2}",
            "{\"step\":3}",
            "{\"st",
        ];
        std::fs::write(&path, lines.join("\n")).expect("written");
        let mut log = Log::open(folder.path(), &header(), 2).expect("goes on");
        log.line(&serde_json::json!({"step": 3, "anew": true}))
            .expect("written");
        let text = std::fs::read_to_string(&path).expect("is there");
        let found: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            found,
            ["{\"step\":1}", "{\"step\":2}", "{\"anew\":true,\"step\":3}"]
        );
        Log::open(folder.path(), &header(), 0).expect("begins");
        let text = std::fs::read_to_string(&path).expect("is there");
        assert_eq!(text.lines().count(), 1);
    }

    /// A run goes on from its checkpoint, whatever became of its log.
    #[test]
    fn a_lost_or_torn_log_stops_no_run() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lines = |step| {
            Log::open(folder.path(), &header(), step).expect("goes on");
            let text = std::fs::read_to_string(folder.path().join(FILE)).expect("is there");
            text.lines().count()
        };
        assert_eq!(last_evaluation(folder.path()).expect("none"), None);
        assert_eq!(lines(2), 1);
        let torn = b"{\"step\":1}\n{\"step\":\xff}\n{\"step\":2}\n";
        std::fs::write(folder.path().join(FILE), torn).expect("written");
        assert_eq!(lines(2), 3);
    }
}
