//! What ran and what it cost: plain data, no GPU, shared by the command line, the bench and the viewer.
//!
//! A [`Run`] is one prompt and its answer. As a file, a trace is JSON lines: the first line a
//! [`Header`], then one [`Run`] a line. `docs/trace.md` describes the format.

pub mod export;

use crate::error::{Error, Result};
use crate::file::{read_line, write_whole};
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the trace format that this build writes and reads.
pub const VERSION: u32 = 2;

/// The first line of a trace file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Always `first-trace`.
    pub format: String,
    /// [`VERSION`] at the time of writing.
    pub version: u32,
}

/// A GPU, for lists and traces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSummary {
    /// The marketing name.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
}

/// The model of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSummary {
    /// The name in the model file.
    pub name: String,
    /// The file name, without its folder.
    pub file: String,
    /// Number of layers.
    pub layers: usize,
    /// Hidden size.
    pub hidden: usize,
    /// Bytes of weights of one layer's attention, by layer.
    pub attn_bytes: Vec<u64>,
    /// Bytes of weights of one layer's MLP, by layer.
    pub mlp_bytes: Vec<u64>,
    /// Bytes of weights that a decoded token reads outside of the layers (the head).
    pub other_bytes: u64,
}

impl ModelSummary {
    /// Layers that are alike, an MLP of three times an attention's bytes: for tests.
    #[cfg(test)]
    pub(crate) fn alike(layers: usize) -> Self {
        Self {
            name: "model".to_owned(),
            file: "file".to_owned(),
            layers,
            hidden: 32,
            attn_bytes: vec![1000; layers],
            mlp_bytes: vec![3000; layers],
            other_bytes: 9000,
        }
    }

    /// Bytes of weights that one decoded token reads under `mask`.
    pub fn weight_bytes(&self, mask: &LayerMask) -> u64 {
        let layer = |layer: usize| {
            let part = |sublayer, bytes: &[u64]| {
                if mask.runs(layer, sublayer) {
                    bytes[layer]
                } else {
                    0
                }
            };
            part(Sublayer::Attn, &self.attn_bytes) + part(Sublayer::Mlp, &self.mlp_bytes)
        };
        (0..mask.layers()).map(layer).sum::<u64>() + self.other_bytes
    }

    /// Share of the layers' weight bytes that `mask` skips, from 0 to 1.
    pub fn skip_rate(&self, mask: &LayerMask) -> f64 {
        let all = self.weight_bytes(&LayerMask::full(self.layers));
        let layers = (all - self.other_bytes).max(1);
        (all - self.weight_bytes(mask)) as f64 / layers as f64
    }
}

/// How tokens are chosen from the logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 takes the most likely token; otherwise logits are divided by it.
    pub temperature: f32,
    /// Keep the `k` most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set of tokens whose probabilities sum to `p`; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

/// A router's score of one sublayer (or of a whole layer, which both its sublayers share).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The layer.
    pub layer: usize,
    /// The sublayer; `None` where the router scores whole layers.
    pub sublayer: Option<Sublayer>,
    /// Mean over the prompt's tokens, from 0 to 1.
    pub score: f32,
    /// The sublayer runs if the score is at least this.
    pub threshold: f32,
    /// The score of each prompt token before pooling.
    pub tokens: Vec<f32>,
}

/// How finely a run is timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// By the host alone: the time of each token.
    #[default]
    None,
    /// Each layer as a whole: two timestamps a layer.
    Layer,
    /// Each dispatch: a pass and two timestamps each.
    Dispatch,
}

/// What ran between two timestamps: one dispatch, or a layer's, by [`Detail`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// 0 is the prefill; then the number of the decoded token.
    pub token: u32,
    /// The layer, or `None` for embedding, head and sampling.
    pub layer: Option<usize>,
    /// `L07.attn.qkv`; of a whole layer, `L07`.
    pub label: String,
    /// The kernel; of a whole layer, `layer`.
    pub kernel: String,
    /// Nanoseconds since the start of the run.
    pub start_nanos: u64,
    /// How long the GPU took.
    pub duration_nanos: u64,
    /// Bytes of weights read.
    pub weight_bytes: u64,
    /// Floating-point operations in matrix products, and in attention over a prompt.
    pub flops: u64,
}

/// One submission to the GPU, by the host's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// 0 is the prefill; then the number of the decoded token.
    pub token: u32,
    /// Nanoseconds since the start of the run, when encoding began.
    pub start_nanos: u64,
    /// Host time to record the commands.
    pub encode_nanos: u64,
    /// Host time to hand them to the driver.
    pub submit_nanos: u64,
    /// Host time from the start of the hand-over until the GPU was done, where it was waited for: what is
    /// left to go by without timestamps. Otherwise 0.
    #[serde(default)]
    pub wall_nanos: u64,
    /// Dispatches in it.
    pub dispatches: u32,
}

/// One prompt and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The model.
    pub model: ModelSummary,
    /// The GPU.
    pub gpu: GpuSummary,
    /// The prompt as the user gave it.
    pub prompt: String,
    /// The prompt as token ids, chat template included.
    pub prompt_ids: Vec<u32>,
    /// The text of each prompt token.
    pub prompt_pieces: Vec<String>,
    /// The answer's token ids; the end-of-turn token included where it came.
    pub answer_ids: Vec<u32>,
    /// The answer's text.
    pub answer: String,
    /// How the mask was chosen: `none`, `routed`, `fixed:7-9`, `random:25%`, `even:25%`.
    pub policy: String,
    /// Which sublayers ran.
    pub mask: LayerMask,
    /// Whether the mask concerned the prompt.
    #[serde(default, skip_serializing_if = "PrefillReading::is_masked")]
    pub prefill: PrefillReading,
    /// Tokens of the prompt that the cache held already, from the turns before.
    #[serde(default)]
    pub cached_tokens: usize,
    /// The routers' scores; empty without a router.
    pub scores: Vec<Score>,
    /// How tokens were chosen.
    pub sampling: Sampling,
    /// From the start to the first answer token.
    pub ttft_nanos: u64,
    /// Time of each later answer token after the one before.
    pub token_nanos: Vec<u64>,
    /// Bytes of KV cache allocated under the mask, or for all layers if a prompt that they all read was kept.
    pub kv_bytes: u64,
    /// Bytes of KV cache that the full model would have allocated.
    pub kv_bytes_full: u64,
    /// Dispatches of one decoded token.
    pub decode_dispatches: u32,
    /// Dispatches of the prefill.
    pub prefill_dispatches: u32,
    /// How finely the run was timed.
    #[serde(default)]
    pub detail: Detail,
    /// GPU times, where they were asked for and the GPU has timestamps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dispatches: Vec<Dispatch>,
    /// Submissions of the decoded tokens; with tracing, of the prefill too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub submissions: Vec<Submission>,
    /// Dispatches without a time, or whose end lay before their start: they stay, with a duration of 0.
    #[serde(default)]
    pub dropped_timestamps: u32,
    /// Why the answer ended; `None` in traces that older builds wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// Free-form label, such as the task a prompt belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
    /// The listener broke it off.
    Cancelled,
}

impl Run {
    /// Mean time per output token in nanoseconds, without the first; `None` for a shorter answer. Tokens may come in bursts,
    /// where their median says nothing.
    pub fn tpot_nanos(&self) -> Option<u64> {
        let count = self.token_nanos.len() as u64;
        self.token_nanos.iter().sum::<u64>().checked_div(count)
    }
}

/// Writes a trace file, whole or not at all.
pub fn write(path: &Path, runs: &[Run]) -> Result<()> {
    let header = Header {
        format: "first-trace".to_owned(),
        version: VERSION,
    };
    write_whole(path, |file| {
        writeln!(file, "{}", json(&header))?;
        runs.iter()
            .try_for_each(|run| writeln!(file, "{}", json(run)))
    })
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("traces are plain data, which always has a JSON form")
}

/// The longest run of a trace.
const MOST_BYTES: u64 = 1 << 30;

/// Reads a trace file.
pub fn read(path: &Path) -> Result<Vec<Run>> {
    let file = std::fs::File::open(path).map_err(|error| Error::read(path, error))?;
    let mut file = std::io::BufReader::new(file);
    let mut line = || read_line(&mut file, MOST_BYTES);
    let bad = |line: usize, what: String| {
        Error::file(
            path,
            format!("line {line}: {what}"),
            "give a file written by `--trace` of this version",
        )
    };
    let first = line().map_err(|error| bad(1, error.to_string()))?;
    let header: Header = serde_json::from_slice(&first.unwrap_or_default())
        .map_err(|error| bad(1, format!("expected a trace header: {error}")))?;
    if header.format != "first-trace" || header.version != VERSION {
        let found = format!(
            "expected `first-trace` version {VERSION}, found `{}` version {}",
            header.format, header.version
        );
        return Err(bad(1, found));
    }
    let mut runs = Vec::new();
    while let Some(run) = line().map_err(|error| bad(runs.len() + 2, error.to_string()))? {
        let run = serde_json::from_slice(&run);
        runs.push(run.map_err(|error| bad(runs.len() + 2, error.to_string()))?);
    }
    Ok(runs)
}
