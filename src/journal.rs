//! What has been measured, so that it is not measured twice: by a second policy whose mask is the same, or by a
//! search or an evaluation that was interrupted and is started again.
//!
//! The file is JSON lines: the first says what the results depend on, each other is one result, written as
//! it comes. A last line that was cut short is dropped.

use crate::error::{Error, Result};
use crate::kernels::KvFormat;
use crate::mask::PrefillReading;
use crate::trace::GpuSummary;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const VERSION: u32 = 3;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    #[serde(flatten)]
    subject: Subject,
}

/// What all results of a file depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// SHA-256 of the model's file.
    pub model_sha256: String,
    /// What its KV caches hold.
    pub kv: KvFormat,
    /// The GPU: no two round alike.
    pub gpu: GpuSummary,
}

/// What a result is of. Texts are short digests of what they stand for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Key {
    /// The mask that routers give a prompt.
    Mask {
        /// The adapter, or nothing.
        adapter: String,
        /// Routers and thresholds.
        router: String,
        /// The prompt.
        prompt: String,
    },
    /// The mean loss of examples that masks are searched on.
    Search {
        /// The adapter, or nothing.
        adapter: String,
        /// What is skipped.
        skipped: String,
        /// Their prompts and answers, and what those are held against.
        examples: String,
    },
    /// The loss of an answer.
    Loss {
        /// The adapter, or nothing.
        adapter: String,
        /// What is skipped.
        skipped: String,
        /// Whether that concerns the prompt.
        #[serde(default, skip_serializing_if = "PrefillReading::is_masked")]
        prefill: PrefillReading,
        /// Prompt and answer.
        example: String,
    },
    /// The answer to a prompt.
    Answer {
        /// The adapter, or nothing.
        adapter: String,
        /// What is skipped.
        skipped: String,
        /// Whether that concerns the prompt.
        #[serde(default, skip_serializing_if = "PrefillReading::is_masked")]
        prefill: PrefillReading,
        /// The prompt.
        prompt: String,
        /// The most tokens.
        max_tokens: usize,
    },
}

/// A result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Value {
    /// In nats a token. As f32, which survives being written and read.
    Loss(f32),
    /// Text: an answer, or a mask as what it skips.
    Text(String),
}

#[derive(Serialize, Deserialize)]
struct Entry {
    of: Key,
    is: Value,
}

/// Results, in memory and in a file if there is one.
#[derive(Debug, Default)]
pub struct Journal {
    results: HashMap<Key, Value>,
    file: Option<(PathBuf, File)>,
}

impl Journal {
    /// Opens or begins a file of results.
    pub fn open(path: &Path, subject: Subject) -> Result<Self> {
        let header = Header {
            format: "first-journal".to_owned(),
            version: VERSION,
            subject,
        };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::read(path, error)),
        };
        let first = serde_json::to_string(&header).expect("plain data");
        // Bytes, since a line may be cut within a character.
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = end.map_or(0, |end| end + 1);
        let text = std::str::from_utf8(&bytes[..whole]).map_err(|error| {
            let what = format!("expected UTF-8, found other bytes ({error})");
            Error::file(path, what, "give another folder, or delete the file")
        })?;
        let mut lines = text.lines();
        let mut results = HashMap::new();
        let fits = match lines.next() {
            Some(line) => serde_json::from_str(line).is_ok_and(|found: Header| found == header),
            // Nothing yet, or a first line that was cut short.
            None => first.as_bytes().starts_with(&bytes),
        };
        if !fits {
            return Err(Error::file(
                path,
                "expected results of this model, this `--kv`, this GPU with this driver, and this version of first in line 1",
                "give another folder, or delete the file",
            ));
        }
        for (index, line) in lines.enumerate() {
            // Two commands began the journal at once.
            if line == first {
                continue;
            }
            let bad = |what: String| {
                let what = format!("line {}: {what}", index + 2);
                Error::file(path, what, "delete the line, or the file")
            };
            let entry: Entry =
                serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
            if let Value::Loss(loss) = entry.is
                && !loss.is_finite()
            {
                return Err(bad(format!("expected a loss, found {loss}")));
            }
            results.insert(entry.of, entry.is);
        }
        let fail = |error| Error::write(path, error);
        if whole < bytes.len() {
            // The rest of a line that was cut short. Windows does not let a file be cut that was opened to append.
            let file = File::options().write(true).open(path).map_err(fail)?;
            file.set_len(whole as u64).map_err(fail)?;
        }
        let mut options = File::options();
        let mut file = options.create(true).append(true).open(path).map_err(fail)?;
        if whole == 0 {
            writeln!(file, "{first}").map_err(fail)?;
        }
        Ok(Self {
            results,
            file: Some((path.to_owned(), file)),
        })
    }

    /// Whether a result is there.
    pub fn has(&self, key: &Key) -> bool {
        self.results.contains_key(key)
    }

    /// The loss if it is there, or measured and noted: as a result of f32 either way.
    pub fn loss(&mut self, key: Key, measure: impl FnOnce() -> Result<f64>) -> Result<f64> {
        match self.get_or(key, || Ok(Value::Loss(measure()? as f32)))? {
            Value::Loss(loss) => Ok(f64::from(loss)),
            Value::Text(_) => Err(self.damaged("expected a loss, found a text")),
        }
    }

    /// The text if it is there, or made and noted.
    pub fn text(&mut self, key: Key, make: impl FnOnce() -> Result<String>) -> Result<String> {
        match self.get_or(key, || Ok(Value::Text(make()?)))? {
            Value::Text(text) => Ok(text),
            Value::Loss(_) => Err(self.damaged("expected a text, found a loss")),
        }
    }

    fn get_or(&mut self, key: Key, measure: impl FnOnce() -> Result<Value>) -> Result<Value> {
        if let Some(value) = self.results.get(&key) {
            return Ok(value.clone());
        }
        let value = measure()?;
        let entry = Entry {
            of: key,
            is: value.clone(),
        };
        if let Some((path, file)) = &mut self.file {
            let line = serde_json::to_string(&entry).expect("plain data") + "\n";
            file.write_all(line.as_bytes())
                .map_err(|error| Error::write(path, error))?;
        }
        self.results.insert(entry.of, value.clone());
        Ok(value)
    }

    /// What was noted is not what was asked for.
    pub fn damaged(&self, what: impl Into<String>) -> Error {
        let path = self.file.as_ref().map(|(path, _)| path.as_path());
        let path = path.unwrap_or(Path::new("the journal"));
        Error::file(
            path,
            what,
            "delete the file, and what it held is measured again",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            model_sha256: "ab".to_owned(),
            ..Subject::default()
        }
    }

    fn key(example: &str) -> Key {
        Key::Loss {
            adapter: String::new(),
            skipped: "3.attn".to_owned(),
            prefill: PrefillReading::Masked,
            example: example.to_owned(),
        }
    }

    #[test]
    fn results_outlive_a_cut_and_are_not_measured_twice() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.jsonl");
        let loss = f64::from(0.3f32);
        let mut journal = Journal::open(&path, subject()).expect("begins");
        for example in ["one", "zwölf"] {
            let found = journal.loss(key(example), || Ok(0.1 + 0.2));
            assert_eq!(found.expect("measures"), loss);
        }
        drop(journal);
        // Cut anywhere, what was whole is there and the next result goes on a line of its own.
        let bytes = std::fs::read(&path).expect("was written");
        let second = bytes.len()
            - 1
            - bytes[..bytes.len() - 1]
                .iter()
                .rev()
                .position(|b| *b == b'\n')
                .expect("lines");
        for cut in second..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).expect("writes");
            let mut journal = Journal::open(&path, subject()).expect("opens");
            assert!(
                journal.has(&key("one")) && !journal.has(&key("zwölf")),
                "{cut}"
            );
            let known = journal.loss(key("one"), || panic!("is known"));
            assert_eq!(known.expect("is known"), loss);
            journal
                .text(key("one"), || panic!("is known"))
                .expect_err("a loss");
            journal.loss(key("zwölf"), || Ok(loss)).expect("measures");
            assert_eq!(std::fs::read(&path).expect("is there"), bytes);
        }
    }

    #[test]
    fn two_that_begin_at_once_leave_a_journal() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.jsonl");
        drop(Journal::open(&path, subject()).expect("begins"));
        let first = std::fs::read_to_string(&path).expect("was written");
        std::fs::write(&path, first.repeat(2)).expect("writes");
        let mut journal = Journal::open(&path, subject()).expect("opens");
        journal.loss(key("one"), || Ok(0.5)).expect("measures");
    }

    #[test]
    fn another_models_results_and_damage_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, "notes").expect("writes");
        Journal::open(&path, subject()).expect_err("no journal");
        std::fs::remove_file(&path).expect("is still there");
        drop(Journal::open(&path, subject()).expect("begins"));
        let changes: [fn(&mut Subject); 3] = [
            |other| other.model_sha256 = "cd".to_owned(),
            |other| other.kv = KvFormat::F16,
            |other| other.gpu.driver = "newer".to_owned(),
        ];
        for change in changes {
            let mut other = subject();
            change(&mut other);
            let error = Journal::open(&path, other)
                .expect_err("other results")
                .to_string();
            assert!(error.contains("line 1"), "{error}");
        }
        let text = std::fs::read_to_string(&path).expect("was written");
        let infinite = format!(
            "{{\"of\":{},\"is\":{{\"loss\":1e300}}}}",
            serde_json::to_string(&key("one")).expect("plain data")
        );
        for line in ["{}", &infinite] {
            std::fs::write(&path, format!("{text}{line}\n")).expect("writes");
            let error = Journal::open(&path, subject())
                .expect_err("damage")
                .to_string();
            assert!(error.contains("line 2"), "{error}");
        }
    }
}
