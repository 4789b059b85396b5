//! LoRA adapters (arXiv 2106.09685) in PEFT's files: a folder of `adapter_config.json` and
//! `adapter_model.safetensors`.
//!
//! An adapted matrix is `W + scale * B A`. In memory the rows of `B` are in the order of the model's own rows,
//! which for `q_proj` and `k_proj` of a GGUF file is not that of the HF checkpoint that PEFT adapts (see
//! [`weights::names`](crate::weights::names)): they are permuted where a file is read or written, and nowhere
//! else. `docs/adapter-file.md` says what of PEFT's options is understood.

mod file;
pub mod joint;
pub mod merged;

pub(crate) use file::MOST_RANK;

use crate::mask::Sublayer;
use crate::model::config::Config;
use std::collections::BTreeMap;

/// A matrix of a layer that can be adapted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Target {
    /// Queries.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// Out of attention.
    OProj,
    /// The MLP's gate.
    GateProj,
    /// The MLP's other way up.
    UpProj,
    /// Out of the MLP.
    DownProj,
}

impl Target {
    /// All of them, in the order in which a layer runs them.
    pub const ALL: [Self; 7] = [
        Self::QProj,
        Self::KProj,
        Self::VProj,
        Self::OProj,
        Self::GateProj,
        Self::UpProj,
        Self::DownProj,
    ];

    /// The name in the HF checkpoint's layer: `self_attn.q_proj`.
    pub fn part(self) -> &'static str {
        match self {
            Self::QProj => "self_attn.q_proj",
            Self::KProj => "self_attn.k_proj",
            Self::VProj => "self_attn.v_proj",
            Self::OProj => "self_attn.o_proj",
            Self::GateProj => "mlp.gate_proj",
            Self::UpProj => "mlp.up_proj",
            Self::DownProj => "mlp.down_proj",
        }
    }

    /// The name alone, as `target_modules` lists it: `q_proj`.
    pub fn name(self) -> &'static str {
        let part = self.part();
        part.split_once('.').map_or(part, |(_, name)| name)
    }

    /// The target of this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The sublayer that it is part of: what is skipped with it.
    pub fn sublayer(self) -> Sublayer {
        match self {
            Self::QProj | Self::KProj | Self::VProj | Self::OProj => Sublayer::Attn,
            Self::GateProj | Self::UpProj | Self::DownProj => Sublayer::Mlp,
        }
    }

    /// Rows and columns of the matrix in a model.
    pub fn shape(self, config: &Config) -> [usize; 2] {
        let (h, f) = (config.hidden, config.feed_forward);
        match self {
            Self::QProj => [config.query_rows(), h],
            Self::KProj | Self::VProj => [config.key_rows(), h],
            Self::OProj => [h, config.query_rows()],
            Self::GateProj | Self::UpProj => [f, h],
            Self::DownProj => [h, f],
        }
    }
}

/// What is added to one matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// `[rank, columns]`.
    pub a: Vec<f32>,
    /// `[rows, rank]`, rows in the model's order.
    pub b: Vec<f32>,
}

/// Low-rank updates of the same matrices of every layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraAdapter {
    rank: usize,
    alpha: f32,
    base_model: String,
    targets: Vec<Target>,
    layers: usize,
    loras: BTreeMap<(usize, Target), Lora>,
}

impl LoraAdapter {
    /// An adapter of `rank` for a model; `lora` gives `A` and `B` of each layer and target, which must have
    /// their shapes. `base_model` is the model's name on the hub, which PEFT looks for.
    ///
    /// # Panics
    /// If a shape is wrong: files are checked where they are read.
    pub fn new(
        base_model: &str,
        config: &Config,
        rank: usize,
        alpha: f32,
        targets: &[Target],
        mut lora: impl FnMut(usize, Target) -> Lora,
    ) -> Self {
        let mut targets = targets.to_vec();
        targets.sort_unstable();
        targets.dedup();
        let mut loras = BTreeMap::new();
        for layer in 0..config.layers {
            for &target in &targets {
                let lora = lora(layer, target);
                let [rows, columns] = target.shape(config);
                assert_eq!(
                    [lora.a.len(), lora.b.len()],
                    [rank * columns, rows * rank],
                    "values of A and B of layer {layer}, {}",
                    target.name()
                );
                loras.insert((layer, target), lora);
            }
        }
        Self {
            rank,
            alpha,
            base_model: base_model.to_owned(),
            targets,
            layers: config.layers,
            loras,
        }
    }

    /// Columns of `B`, rows of `A`.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// `rank` times the scale.
    pub fn alpha(&self) -> f32 {
        self.alpha
    }

    /// What `B A` is multiplied by.
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    /// The adapted matrices, in the order of [`Target::ALL`].
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The base model's name on the hub.
    pub fn base_model(&self) -> &str {
        &self.base_model
    }

    /// Layers of the model.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// What is added to a matrix, if it is adapted.
    pub fn lora(&self, layer: usize, target: Target) -> Option<&Lora> {
        self.loras.get(&(layer, target))
    }

    /// How many numbers it holds.
    pub fn parameters(&self) -> usize {
        let count = |lora: &Lora| lora.a.len() + lora.b.len();
        self.loras.values().map(count).sum()
    }
}

/// The rows of a matrix of `columns` in the order of the other file: `q_proj` and `k_proj` in GGUF files have
/// the two numbers that RoPE turns together side by side, the HF checkpoint has them half a head apart.
fn permute(values: &[f32], columns: usize, head_dim: usize, to_gguf: bool) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    let half = head_dim / 2;
    for head in (0..values.len() / columns).step_by(head_dim) {
        for pair in 0..half {
            for side in 0..2 {
                let gguf = (head + 2 * pair + side) * columns;
                let hf = (head + side * half + pair) * columns;
                let (from, to) = if to_gguf { (hf, gguf) } else { (gguf, hf) };
                out[to..to + columns].copy_from_slice(&values[from..from + columns]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_head_are_paired_and_come_back() {
        let hf: Vec<f32> = (0..16).map(|value| value as f32).collect();
        // Two heads of four rows, two columns: rows 0 and 2 are a pair, rows 1 and 3 the next.
        let gguf = permute(&hf, 2, 4, true);
        assert_eq!(gguf[..8], [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
        assert_eq!(permute(&gguf, 2, 4, false), hf);
    }

    #[test]
    fn names_are_those_of_the_checkpoint() {
        for target in Target::ALL {
            assert_eq!(Target::from_name(target.name()), Some(target));
        }
        assert_eq!(Target::GateProj.name(), "gate_proj");
        assert_eq!(Target::from_name("lm_head"), None);
    }
}
