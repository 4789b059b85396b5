//! Comparing the engine with exact outputs of a reference implementation: `first check DIR`.
//!
//! The folder holds `reference.json`, a list of entries (`mask`, `text`, `ids`, `greedy`, `runner_up`,
//! `top1_minus_top2`), and where they were recorded `promptN_last_logits.npy` `[V]`,
//! `promptN_hidden_states.npy` `[layers + 1, T, H]` and `promptN_final_norm.npy` `[T, H]`, all f32. Files
//! that are not there are passed over, but an entry needs one of them or `greedy`.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::file::read_at_most;
use crate::mask::{LayerMask, Masking};
use crate::reference::argmax::argmax;
use serde::Deserialize;
use std::path::Path;

const REFERENCE: &str = "reference.json";
/// The most bytes of that file.
const MOST_BYTES: u64 = 64 << 20;
/// Before the numbers of an array.
const MOST_HEADER: u64 = 10 + (1 << 16);

/// The largest normalised mean squared error of logits and hidden states.
pub const NMSE: f64 = 1e-6;

/// Below this gap between the two largest reference logits, either may be the arg max: rounding decides.
pub const NEAR_TIE: f32 = 0.15;

/// One prompt of a reference folder.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// What is skipped, in the syntax of `--skip-layers`.
    #[serde(default)]
    pub mask: String,
    /// The text that was tokenised.
    pub text: String,
    /// Its token ids.
    pub ids: Vec<u32>,
    /// The reference's greedy answer.
    #[serde(default)]
    pub greedy: Vec<u32>,
    /// The second-best token of each step.
    #[serde(default)]
    pub runner_up: Vec<u32>,
    /// The gap between the two largest logits of each step.
    #[serde(default)]
    pub top1_minus_top2: Vec<f32>,
}

/// What came of one entry.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Its number.
    pub index: usize,
    /// What it skips.
    pub mask: String,
    /// Prompt tokens.
    pub tokens: usize,
    /// Whether the tokeniser gave the reference's ids.
    pub ids_equal: bool,
    /// Error of the last token's logits.
    pub logits_nmse: Option<f64>,
    /// The largest error of the residual stream after any layer, and of the final norm.
    pub hidden_nmse: Option<f64>,
    /// Greedy tokens that agree, of how many, and how many of them by a near tie.
    pub greedy: Option<(usize, usize, usize)>,
}

impl Outcome {
    /// Whether everything that was compared agrees.
    pub fn passes(&self) -> bool {
        let small = |nmse: Option<f64>| nmse.is_none_or(|nmse| nmse <= NMSE);
        let greedy = self.greedy.is_none_or(|(right, all, _)| right == all);
        self.ids_equal && small(self.logits_nmse) && small(self.hidden_nmse) && greedy
    }
}

/// Reads the entries of a folder.
pub fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let path = folder.join(REFERENCE);
    let remedy = "give a folder that holds reference outputs";
    let bad = |what: String| Error::file(&path, what, remedy);
    let entries: Vec<Entry> = serde_json::from_slice(&read_at_most(&path, MOST_BYTES, remedy)?)
        .map_err(|error| bad(format!("expected a list of reference entries: {error}")))?;
    if entries.is_empty() {
        return Err(bad("expected reference entries, found none".to_owned()));
    }
    Ok(entries)
}

/// Runs one entry and compares.
pub fn check(engine: &Engine, folder: &Path, index: usize, entry: &Entry) -> Result<Outcome> {
    let config = &engine.model.config;
    let length = entry.ids.len() + entry.greedy.len();
    let known = |id: &u32| (*id as usize) < config.vocab;
    let bad = |what: String| {
        let path = folder.join(REFERENCE);
        Err(Error::file(&path, what, "give outputs of this model"))
    };
    let mut ids = entry.ids.iter().chain(&entry.greedy);
    if entry.ids.is_empty() || length > config.context || !ids.all(known) {
        return bad(format!(
            "entry {index} needs 1 to {} ids below {}",
            config.context, config.vocab
        ));
    }
    let mask = match LayerMask::parse(&entry.mask, config.layers) {
        Ok(mask) => mask,
        Err(error) => return bad(format!("the mask of entry {index}: {}", error.message())),
    };
    let mut outcome = Outcome {
        index,
        mask: entry.mask.clone(),
        tokens: entry.ids.len(),
        ids_equal: engine.tokenizer.encode(&entry.text)? == entry.ids,
        ..Default::default()
    };
    let file = |what: &str| folder.join(format!("prompt{index}_{what}.npy"));
    let hidden = read_npy(
        &file("hidden_states"),
        &[config.layers + 1, entry.ids.len(), config.hidden],
    )?;
    let normed = read_npy(&file("final_norm"), &[entry.ids.len(), config.hidden])?;
    if hidden.is_some() || normed.is_some() {
        let size = entry.ids.len() * config.hidden;
        let mut worst: Option<f64> = None;
        engine.hidden_states(&entry.ids, &mask, &mut |layer, found| {
            let expected = if layer <= config.layers {
                hidden
                    .as_ref()
                    .map(|hidden| &hidden[layer * size..][..size])
            } else {
                normed.as_deref()
            };
            if let Some(expected) = expected {
                let found = nmse(expected, found);
                worst = Some(worst.map_or(found, |worst| worst.max(found)));
            }
            Ok(())
        })?;
        outcome.hidden_nmse = worst;
    }
    let logits = read_npy(&file("last_logits"), &[config.vocab])?;
    if entry.greedy.is_empty() && logits.is_none() && outcome.hidden_nmse.is_none() {
        return bad(format!(
            "entry {index} has neither `greedy` tokens nor a `prompt{index}_...npy` beside it"
        ));
    }
    let forced = &entry.greedy[..entry.greedy.len().saturating_sub(1)];
    let (mut right, mut ties) = (0, 0);
    let masking = Masking::from(mask);
    engine.forced_logits(&entry.ids, &masking, forced, &mut |step, found| {
        if step == 0 {
            outcome.logits_nmse = logits.as_ref().map(|expected| nmse(expected, found));
        }
        let Some(best) = entry.greedy.get(step) else {
            return Ok(());
        };
        let token = argmax(found);
        let tie = entry
            .top1_minus_top2
            .get(step)
            .is_some_and(|gap| *gap < NEAR_TIE);
        let second = tie && entry.runner_up.get(step) == Some(&token);
        right += usize::from(token == *best || second);
        ties += usize::from(token != *best && second);
        Ok(())
    })?;
    if !entry.greedy.is_empty() {
        outcome.greedy = Some((right, entry.greedy.len(), ties));
    }
    Ok(outcome)
}

/// Mean squared error over the mean square of what was expected; infinite where a number is not finite.
pub fn nmse(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(
        expected.len(),
        found.len(),
        "lengths of two tensors to compare"
    );
    let (mut error, mut size) = (0.0f64, 0.0f64);
    for (expected, found) in expected.iter().zip(found) {
        error += (f64::from(*expected) - f64::from(*found)).powi(2);
        size += f64::from(*expected).powi(2);
    }
    let nmse = error / size.max(f64::MIN_POSITIVE);
    if nmse.is_finite() {
        nmse
    } else {
        f64::INFINITY
    }
}

/// Reads an array of little-endian f32 in C order (the NumPy format, version 1); `None` if there is no file.
fn read_npy(path: &Path, shape: &[usize]) -> Result<Option<Vec<f32>>> {
    if !path.exists() {
        return Ok(None);
    }
    let remedy = "write it with numpy.save from a C-ordered float32 array";
    let bad = |what: String| Error::file(path, what, remedy);
    let numbers: usize = shape.iter().product();
    let bytes = read_at_most(path, MOST_HEADER + 4 * numbers as u64, remedy)?;
    let header = bytes
        .strip_prefix(b"\x93NUMPY\x01\x00")
        .and_then(|rest| rest.split_at_checked(2))
        .and_then(|(length, rest)| {
            rest.split_at_checked(usize::from(u16::from_le_bytes([length[0], length[1]])))
        })
        .and_then(|(header, data)| Some((std::str::from_utf8(header).ok()?, data)));
    let Some((header, data)) = header else {
        return Err(bad("expected a NumPy file of version 1".to_owned()));
    };
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let found: String = header
        .split_once("'shape': (")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("", |(shape, _)| shape)
        .to_owned();
    let found: Vec<&str> = found
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .collect();
    if !header.contains("'<f4'") || !header.contains("'fortran_order': False") || found != sizes {
        return Err(bad(format!(
            "expected f32 of shape {shape:?}, found `{}`",
            header.trim()
        )));
    }
    if data.len() != 4 * shape.iter().product::<usize>() {
        return Err(bad(format!(
            "expected {} numbers, found {} bytes",
            shape.iter().product::<usize>(),
            data.len()
        )));
    }
    Ok(Some(bytemuck::pod_collect_to_vec(data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_criterion_alone_fails() {
        let fine = Outcome {
            ids_equal: true,
            logits_nmse: Some(NMSE),
            hidden_nmse: Some(NMSE),
            greedy: Some((32, 32, 1)),
            ..Default::default()
        };
        assert!(fine.passes());
        type Spoil = fn(&mut Outcome);
        let spoilt: [Spoil; 5] = [
            |outcome| outcome.ids_equal = false,
            |outcome| outcome.logits_nmse = Some(1.1 * NMSE),
            |outcome| outcome.logits_nmse = Some(f64::INFINITY),
            |outcome| outcome.hidden_nmse = Some(1.1 * NMSE),
            |outcome| outcome.greedy = Some((31, 32, 1)),
        ];
        for spoil in spoilt {
            let mut outcome = fine.clone();
            spoil(&mut outcome);
            assert!(!outcome.passes(), "{outcome:?}");
        }
    }
}
