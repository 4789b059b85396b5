//! What a run goes on from: parameters, moments, options and the number of the step, in one safetensors file.

use super::parameters::Snapshot;
use super::schedule::RunOptions;
use crate::error::{Error, Result};
use crate::file::write_whole;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// Its name in the folder of a run.
pub const FILE: &str = "checkpoint.safetensors";

/// The entry of the file's metadata that says how far the run is.
const PROGRESS: &str = "first-wgpu run";

#[derive(Serialize, Deserialize)]
struct Progress {
    step: u32,
    subject: String,
    #[serde(default)]
    held_out: String,
    options: RunOptions,
}

/// A run between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Steps done.
    pub step: u32,
    /// What is trained on what: a digest of the model and the texts.
    pub subject: String,
    /// What was looked at: a digest of the held-out texts; empty if nothing was.
    pub held_out: String,
    /// How the run goes.
    pub options: RunOptions,
    /// Values and moments of the parameters.
    pub snapshot: Snapshot,
}

impl Checkpoint {
    /// Writes the file whole or not at all: until then the last one stays.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let Snapshot {
            values,
            mean,
            square,
        } = &self.snapshot;
        let view = |numbers: &'_ [f32]| -> Vec<u8> { bytemuck::cast_slice(numbers).to_vec() };
        let parts = [
            ("mean", view(mean)),
            ("square", view(square)),
            ("values", view(values)),
        ];
        let tensors = parts.iter().map(|(name, bytes)| {
            let tensor = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
            (*name, tensor.expect("four bytes a number"))
        });
        // In one entry: several have no order, and equal checkpoints should be equal files.
        let progress = Progress {
            step: self.step,
            subject: self.subject.clone(),
            held_out: self.held_out.clone(),
            options: self.options.clone(),
        };
        let text = serde_json::to_string(&progress).expect("options are plain data");
        let metadata = HashMap::from([(PROGRESS.to_owned(), text)]);
        let bytes = safetensors::serialize(tensors, Some(metadata))
            .map_err(|error| Error::write(&path, std::io::Error::other(error)))?;
        write_whole(&path, |file| file.write_all(&bytes))
    }

    /// Reads the file of a folder; `None` if there is none.
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::read(&path, error))?,
        };
        let wrong = |what: String| {
            Error::file(
                &path,
                what,
                "begin again in another folder, or delete the checkpoint",
            )
        };
        let (_, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| wrong(format!("no checkpoint: {error}")))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let text = metadata
            .get(PROGRESS)
            .ok_or_else(|| wrong("no checkpoint of a run of training".to_owned()))?;
        let Progress {
            step,
            subject,
            held_out,
            options,
        } = serde_json::from_str(text)
            .map_err(|error| wrong(format!("a checkpoint of another version: {error}")))?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|error| wrong(format!("no checkpoint: {error}")))?;
        let numbers = |name: &str| -> Result<Vec<f32>> {
            let tensor = tensors
                .tensor(name)
                .map_err(|error| wrong(format!("no `{name}`: {error}")))?;
            if tensor.dtype() != Dtype::F32 {
                return Err(wrong(format!(
                    "`{name}` is {:?}, expected F32",
                    tensor.dtype()
                )));
            }
            let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
            if numbers.iter().any(|number| !number.is_finite()) {
                return Err(wrong(format!("`{name}` holds numbers that are not finite")));
            }
            Ok(numbers)
        };
        let snapshot = Snapshot {
            values: numbers("values")?,
            mean: numbers("mean")?,
            square: numbers("square")?,
        };
        if snapshot.mean.len() != snapshot.values.len()
            || snapshot.square.len() != snapshot.values.len()
        {
            return Err(wrong(
                "a checkpoint whose parts differ in length".to_owned(),
            ));
        }
        Ok(Some(Self {
            step,
            subject,
            held_out,
            options,
            snapshot,
        }))
    }
}
