//! Shapes and constants of a model, read from its GGUF file and checked against its tensors.

use crate::error::{BADLY_CONVERTED, Error, Result, quote};
use crate::mask::MOST_LAYERS;
use crate::reference::attention::Heads;
use crate::weights::gguf::{FromValue, Gguf};
use crate::weights::names;
use std::collections::HashSet;

/// The remedy of a model that is sound but not ours to run.
const ANOTHER_MODEL: &str =
    "give a model of the Llama family with a byte-level BPE tokenizer, such as SmolLM2 or Llama 3";

/// The kernels hold a head in registers and read it in groups of four.
const MAX_HEAD_DIM: usize = 128;
/// The kernels read 32 columns at a time. Longer blocks are checked where tensors are listed.
const BLOCK: usize = 32;
/// Beyond it no model exists, and sizes computed from it could overflow.
const MAX_LENGTH: usize = 1 << 24;
/// Beyond these a dispatch would take more than the 65535 workgroups that WebGPU allows in a dimension.
const MAX_HEADS: usize = 2048;
const MAX_WIDTH: usize = 1 << 18;
const MAX_VOCAB: usize = 1 << 20;
const MAX_NAME: usize = 120;

/// What a model's file says about its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The architecture's name, `llama`.
    pub architecture: String,
    /// The model's own name, or the file's.
    pub name: String,
    /// Transformer layers.
    pub layers: usize,
    /// `H`, the width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// `D`, the size of a head.
    pub head_dim: usize,
    /// `F`, the width of the MLP.
    pub feed_forward: usize,
    /// `V`, the number of tokens.
    pub vocab: usize,
    /// `C`, the longest sequence in tokens.
    pub context: usize,
    /// The base of RoPE's frequencies.
    pub rope_base: f32,
    /// What divides each of RoPE's frequencies, one for two dimensions of a head (Llama 3), if anything does.
    pub rope_factors: Option<Vec<f32>>,
    /// The epsilon of RMSNorm.
    pub rms_norm_epsilon: f32,
    /// Whether the head is the embedding: the file has no `lm_head.weight`.
    pub tied_head: bool,
    /// The token that the file calls its end. [`Tokenizer::is_end`](super::tokenizer::Tokenizer::is_end) knows more of them; an
    /// answer that is learned from ends with [`Engine::answer_end`](crate::engine::Engine::answer_end).
    pub eos: Option<u32>,
}

impl Config {
    /// Reads the configuration and checks it, [its tensors](check_tensors) included.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let keys = Keys {
            gguf,
            architecture: architecture(gguf)?,
        };
        keys.refuse_what_we_do_not_run()?;

        let file_name = gguf.path().file_stem().unwrap_or_default();
        let name = gguf.optional::<&str>("general.name")?;
        let layers = keys.length("block_count", None, MOST_LAYERS)?;
        let hidden = keys.length("embedding_length", None, MAX_WIDTH)?;
        let heads = keys.length("attention.head_count", None, MAX_HEADS)?;
        let vocab = gguf.required::<Vec<&str>>("tokenizer.ggml.tokens")?.len();
        let mut config = Self {
            architecture: keys.architecture.to_owned(),
            name: plain(name.unwrap_or(&file_name.to_string_lossy())),
            layers,
            hidden,
            heads,
            kv_heads: keys.length("attention.head_count_kv", Some(heads), MAX_HEADS)?,
            head_dim: keys.length("attention.key_length", Some(hidden / heads), MAX_LENGTH)?,
            feed_forward: keys.length("feed_forward_length", None, MAX_WIDTH)?,
            vocab,
            context: keys.length("context_length", None, MAX_LENGTH)?,
            rope_base: keys.positive("rope.freq_base", Some(10_000.0))?,
            rope_factors: None,
            rms_norm_epsilon: keys.positive("attention.layer_norm_rms_epsilon", None)?,
            tied_head: !gguf.has_tensor("output.weight"),
            eos: token(gguf, "tokenizer.ggml.eos_token_id", vocab)?,
        };
        keys.check_shape(&config)?;
        config.rope_factors = rope_factors(gguf, config.head_dim)?;
        // The tokenizer's; but what is beyond the vocabulary is refused in one place.
        token(gguf, "tokenizer.ggml.bos_token_id", vocab)?;
        check_tensors(gguf, &config)?;
        Ok(config)
    }

    /// The heads of its attention.
    pub fn sizes(&self) -> Heads {
        Heads {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
        }
    }

    /// `Q`, the rows of `q_proj` and the columns of `o_proj`.
    pub fn query_rows(&self) -> usize {
        self.sizes().query_rows()
    }

    /// `K`, the rows of `k_proj` and of `v_proj`.
    pub fn key_rows(&self) -> usize {
        self.sizes().key_rows()
    }

    /// All tensors of the model: HF names and shapes.
    pub fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        let (h, q, k, f, v) = (
            self.hidden,
            self.query_rows(),
            self.key_rows(),
            self.feed_forward,
            self.vocab,
        );
        let parts = [
            ("input_layernorm", vec![h]),
            ("self_attn.q_proj", vec![q, h]),
            ("self_attn.k_proj", vec![k, h]),
            ("self_attn.v_proj", vec![k, h]),
            ("self_attn.o_proj", vec![h, q]),
            ("post_attention_layernorm", vec![h]),
            ("mlp.gate_proj", vec![f, h]),
            ("mlp.up_proj", vec![f, h]),
            ("mlp.down_proj", vec![h, f]),
        ];
        let embedding = ("model.embed_tokens.weight".to_owned(), vec![v, h]);
        let head = (!self.tied_head).then(|| ("lm_head.weight".to_owned(), vec![v, h]));
        let in_layers = (0..self.layers).flat_map(move |layer| {
            parts
                .clone()
                .map(|(part, shape)| (names::hf_in_layer(layer, part), shape))
        });
        std::iter::once(embedding)
            .chain(in_layers)
            .chain([("model.norm.weight".to_owned(), vec![h])])
            .chain(head)
    }
}

/// The architecture, of a file that holds a whole model of one that we run.
fn architecture(gguf: &Gguf) -> Result<&str> {
    if let Some(parts @ 2..) = gguf.optional::<u32>("split.count")? {
        return Err(Error::file(
            gguf.path(),
            format!("expected a whole model, found one of {parts} parts"),
            "join them with llama.cpp's `llama-gguf-split --merge`",
        ));
    }
    let architecture: &str = gguf.required("general.architecture")?;
    if architecture != "llama" {
        let message = format!(
            "expected a model of architecture `llama`, found {}",
            quote(architecture)
        );
        return Err(Error::file(gguf.path(), message, ANOTHER_MODEL));
    }
    Ok(architecture)
}

/// A name as terminals can show it: a file may hold anything.
fn plain(name: &str) -> String {
    let plain = name.chars().filter(|character| !character.is_control());
    plain.take(MAX_NAME).collect()
}

/// Checks that every tensor of the model is there in its shape and in a format that we read, and that none
/// would be left out of the computation.
pub fn check_tensors(gguf: &Gguf, config: &Config) -> Result<()> {
    let mut known = HashSet::from(["rope_freqs.weight".to_owned()]);
    for (hf, expected) in config.tensors() {
        let name = names::gguf_from_hf(&hf).expect("every tensor of the model has a GGUF name");
        let tensor = gguf.tensor(&name)?;
        if tensor.shape != expected {
            let message = format!(
                "expected shape {expected:?} of tensor `{name}` ({hf}), found {:?}",
                tensor.shape
            );
            return Err(Error::file(gguf.path(), message, BADLY_CONVERTED));
        }
        known.insert(name);
    }
    if let Some(other) = gguf.tensors().find(|tensor| !known.contains(&tensor.name)) {
        let message = format!(
            "expected no tensor {} in a `llama` model of {} layers",
            quote(&other.name),
            config.layers
        );
        return Err(Error::file(gguf.path(), message, ANOTHER_MODEL));
    }
    Ok(())
}

/// The keys below the architecture's name.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    fn optional<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>> {
        self.gguf.optional(&format!("{}.{key}", self.architecture))
    }

    /// A count or a size: not zero and not beyond reason.
    fn length(&self, key: &str, default: Option<usize>, most: usize) -> Result<usize> {
        let full = format!("{}.{key}", self.architecture);
        let length = match (self.gguf.optional::<u32>(&full)?, default) {
            (Some(found), _) => found as usize,
            (None, Some(default)) => default,
            (None, None) => self.gguf.required::<u32>(&full)? as usize,
        };
        self.check(
            key,
            length,
            (1..=most).contains(&length),
            &format!("a number from 1 to {most}"),
        )?;
        Ok(length)
    }

    /// A number above zero.
    fn positive(&self, key: &str, default: Option<f32>) -> Result<f32> {
        let full = format!("{}.{key}", self.architecture);
        let value = match (self.gguf.optional::<f32>(&full)?, default) {
            (Some(found), _) => found,
            (None, Some(default)) => default,
            (None, None) => self.gguf.required(&full)?,
        };
        self.check(
            key,
            value,
            value.is_finite() && value > 0.0,
            "a number above 0",
        )?;
        Ok(value)
    }

    fn check(
        &self,
        key: &str,
        found: impl std::fmt::Display,
        holds: bool,
        expected: &str,
    ) -> Result<()> {
        if holds {
            return Ok(());
        }
        let message = format!(
            "expected `{}.{key}` to be {expected}, found {found}",
            self.architecture
        );
        Err(Error::file(self.gguf.path(), message, ANOTHER_MODEL))
    }

    /// Variants of the architecture that would load and then compute something else.
    fn refuse_what_we_do_not_run(&self) -> Result<()> {
        let experts = self.optional::<u32>("expert_count")?.unwrap_or(0);
        self.check(
            "expert_count",
            experts,
            experts == 0,
            "0, a model without experts",
        )?;
        let scaling = self
            .optional::<&str>("rope.scaling.type")?
            .unwrap_or("none");
        self.check(
            "rope.scaling.type",
            quote(scaling),
            scaling == "none",
            "`none`",
        )?;
        for key in ["rope.scale_linear", "rope.scaling.factor"] {
            let factor = self.optional::<f32>(key)?.unwrap_or(1.0);
            self.check(
                key,
                factor,
                factor == 1.0,
                "1, positions that are not scaled",
            )?;
        }
        Ok(())
    }

    /// What the kernels need of a shape, and what a file says twice.
    fn check_shape(&self, config: &Config) -> Result<()> {
        let Config {
            heads,
            kv_heads,
            head_dim,
            vocab,
            ..
        } = *config;
        let blocks = "a multiple of 32";
        let lengths = [
            ("embedding_length", config.hidden),
            ("feed_forward_length", config.feed_forward),
        ];
        for (key, length) in lengths {
            self.check(key, length, length.is_multiple_of(BLOCK), blocks)?;
        }
        self.check(
            "attention.head_count_kv",
            kv_heads,
            heads.is_multiple_of(kv_heads),
            &format!("a divisor of the {heads} heads"),
        )?;
        self.check(
            "attention.key_length",
            head_dim,
            head_dim <= MAX_HEAD_DIM && head_dim.is_multiple_of(4) && head_dim > 0,
            &format!("a multiple of 4 from 4 to {MAX_HEAD_DIM}"),
        )?;
        self.check(
            "attention.head_count",
            heads,
            (heads * head_dim).is_multiple_of(BLOCK),
            &format!("{blocks} when multiplied by the head size {head_dim}"),
        )?;
        let value_length = self.length("attention.value_length", Some(head_dim), MAX_LENGTH)?;
        self.check(
            "attention.value_length",
            value_length,
            value_length == head_dim,
            &format!("the key length {head_dim}"),
        )?;
        let rope_dim = self.length("rope.dimension_count", Some(head_dim), MAX_LENGTH)?;
        self.check(
            "rope.dimension_count",
            rope_dim,
            rope_dim == head_dim,
            &format!("the head size {head_dim}"),
        )?;
        let vocab_size = self.length("vocab_size", Some(vocab), MAX_VOCAB)?;
        self.check(
            "vocab_size",
            vocab_size,
            vocab_size == vocab,
            &format!("the number of tokens in the file, {vocab}"),
        )
    }
}

/// Llama 3's factors, one for each pair of rotated dimensions.
fn rope_factors(gguf: &Gguf, head_dim: usize) -> Result<Option<Vec<f32>>> {
    if !gguf.has_tensor("rope_freqs.weight") {
        return Ok(None);
    }
    let tensor = gguf.tensor("rope_freqs.weight")?;
    if tensor.shape != [head_dim / 2] {
        let message = format!(
            "expected shape [{}] of tensor `rope_freqs.weight`, found {:?}",
            head_dim / 2,
            tensor.shape
        );
        return Err(Error::file(gguf.path(), message, BADLY_CONVERTED));
    }
    let factors = tensor.to_f32();
    if let Some(factor) = factors
        .iter()
        .find(|factor| !(factor.is_finite() && **factor > 0.0))
    {
        let message =
            format!("expected numbers above 0 in tensor `rope_freqs.weight`, found {factor}");
        return Err(Error::file(gguf.path(), message, BADLY_CONVERTED));
    }
    Ok(Some(factors))
}

/// A token id that the vocabulary has.
fn token(gguf: &Gguf, key: &str, vocab: usize) -> Result<Option<u32>> {
    let id: Option<u32> = gguf.optional(key)?;
    match id {
        Some(id) if id as usize >= vocab => {
            let message =
                format!("expected `{key}` to be below the vocabulary's {vocab}, found {id}");
            Err(Error::file(gguf.path(), message, BADLY_CONVERTED))
        }
        id => Ok(id),
    }
}
