//! A generated Llama-family model of a few hundred kilobytes: a complete GGUF file with a vocabulary, a chat
//! template and random weights, the same bytes for the same options on every machine.
//!
//! It says nothing sensible, but everything that a real model goes through can be tested with it without a
//! download.

use super::tokenizer::byte_to_char;
use crate::error::Result;
use crate::random::Random;
use crate::weights::Format;
use crate::weights::gguf_writer::GgufWriter;
use std::path::Path;

/// The shape of a generated model.
#[derive(Clone, Debug)]
pub struct TinyOptions {
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream, a multiple of 32 and, without `head_dim`, of `heads`.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// The size of a head, where all heads together are not as wide as the residual stream.
    pub head_dim: Option<usize>,
    /// Width of the MLP, a multiple of 32.
    pub feed_forward: usize,
    /// Tokens, at least [`TinyOptions::MIN_VOCAB`]; what the vocabulary does not need is padding.
    pub vocab: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// The format of the matrices, or [its stand-in](Format::for_columns); norms are always f32.
    pub format: Format,
    /// The format of the embedding, `v` and `down`, of which files of mixed formats keep more bits; `None` for the one format.
    pub finer: Option<Format>,
    /// Whether the embedding is the head too.
    pub tied: bool,
    /// The base of RoPE's frequencies.
    pub rope_base: f32,
    /// Whether these are divided by factors.
    pub rope_factors: bool,
    /// The epsilon of RMSNorm.
    pub epsilon: f32,
    /// What the weights are drawn from.
    pub seed: u64,
}

impl TinyOptions {
    /// The special tokens, all bytes and the merged tokens.
    pub const MIN_VOCAB: usize = SPECIAL.len() + 256 + MERGES.len();

    /// With a head of its own, and RoPE's base and factors as Llama 3 has them; and with heads that are wider than the
    /// residual stream, and an epsilon of its own. Its answers vary: with random weights a head that is the embedding
    /// repeats the prompt's last token, whatever the layers do.
    pub fn llama3() -> Self {
        Self {
            head_dim: Some(24),
            tied: false,
            rope_base: 500_000.0,
            rope_factors: true,
            epsilon: 3e-5,
            ..Self::default()
        }
    }

    fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or_else(|| {
            assert!(
                self.hidden.is_multiple_of(self.heads),
                "{self:?}: the heads divide the hidden size"
            );
            self.hidden / self.heads
        })
    }
}

impl Default for TinyOptions {
    fn default() -> Self {
        Self {
            layers: 4,
            hidden: 64,
            heads: 4,
            kv_heads: 2,
            head_dim: None,
            feed_forward: 96,
            vocab: 320,
            context: 256,
            format: Format::F32,
            finer: None,
            tied: true,
            rope_base: 10_000.0,
            rope_factors: false,
            epsilon: 1e-5,
            seed: 1,
        }
    }
}

const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// In order of rank; `Ġ` is the byte-level spelling of a space.
const MERGES: [(&str, &str); 16] = [
    ("Ġ", "t"),
    ("h", "e"),
    ("i", "n"),
    ("Ġt", "he"),
    ("o", "n"),
    ("e", "r"),
    ("a", "n"),
    ("Ġ", "a"),
    ("l", "l"),
    ("he", "ll"),
    ("hell", "o"),
    ("s", "t"),
    ("u", "s"),
    ("us", "er"),
    ("Ġ", "Ġ"),
    ("Ġa", "n"),
];

/// ChatML, as SmolLM2 has it, without its default system turn.
const TEMPLATE: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
                        '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Writes a generated model.
///
/// # Panics
/// If the options contradict one another: they come from code, not from a user.
pub fn write_tiny(path: impl AsRef<Path>, options: &TinyOptions) -> Result<()> {
    writer(options).write(path)
}

/// The bytes of a generated model.
///
/// # Panics
/// As [`write_tiny`].
pub fn tiny_bytes(options: &TinyOptions) -> Vec<u8> {
    writer(options).to_bytes()
}

fn writer(options: &TinyOptions) -> GgufWriter {
    let head_dim = options.head_dim();
    let mut writer = GgufWriter::new();
    let number = |value: usize| u32::try_from(value).expect("a small number");
    writer
        .str("general.architecture", "llama")
        .str("general.name", "Tiny")
        .u32("llama.block_count", number(options.layers))
        .u32("llama.context_length", number(options.context))
        .u32("llama.embedding_length", number(options.hidden))
        .u32("llama.feed_forward_length", number(options.feed_forward))
        .u32("llama.attention.head_count", number(options.heads))
        .u32("llama.attention.head_count_kv", number(options.kv_heads))
        .u32("llama.rope.dimension_count", number(head_dim))
        .f32("llama.rope.freq_base", options.rope_base)
        .f32("llama.attention.layer_norm_rms_epsilon", options.epsilon);
    if options.head_dim.is_some() {
        for key in ["key_length", "value_length"] {
            writer.u32(&format!("llama.attention.{key}"), number(head_dim));
        }
    }
    vocabulary(&mut writer, options.vocab);
    weights(&mut writer, options);
    writer
}

/// The bytes of a file with the vocabulary alone, of `vocab` tokens: for models without a file.
pub fn vocabulary_bytes(vocab: usize) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    vocabulary(&mut writer, vocab);
    writer.to_bytes()
}

fn vocabulary(writer: &mut GgufWriter, vocab: usize) {
    assert!(
        vocab >= TinyOptions::MIN_VOCAB,
        "a vocabulary of at least {} tokens",
        TinyOptions::MIN_VOCAB
    );
    let mut tokens: Vec<String> = SPECIAL.map(str::to_owned).to_vec();
    tokens.extend((0..=255).map(|byte| byte_to_char(byte).to_string()));
    tokens.extend(MERGES.map(|(left, right)| format!("{left}{right}")));
    let mut types = vec![3; SPECIAL.len()];
    types.resize(tokens.len(), 1);
    for index in tokens.len()..vocab {
        tokens.push(format!("[PAD{index}]"));
        types.push(5);
    }
    writer
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", "smollm")
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .strings(
            "tokenizer.ggml.merges",
            &MERGES.map(|(left, right)| format!("{left} {right}")),
        )
        .bool("tokenizer.ggml.add_bos_token", false)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .str("tokenizer.chat_template", TEMPLATE);
}

/// Every matrix keeps the variance of what it multiplies, except the two that write to the residual stream:
/// they are scaled down by the depth, so that the stream stays of order one and no layer is idle.
fn weights(writer: &mut GgufWriter, options: &TinyOptions) {
    let TinyOptions {
        layers,
        hidden: h,
        feed_forward: f,
        vocab,
        format,
        ..
    } = *options;
    let [q, k] = [options.heads, options.kv_heads].map(|heads| heads * options.head_dim());
    let mut random = Random(options.seed);
    let to_residual = 1.0 / (2.0 * layers as f32).sqrt();
    let mut matrix =
        |writer: &mut GgufWriter, name: String, rows: usize, columns: usize, scale: f32| {
            let scale = scale / (columns as f32).sqrt();
            let values: Vec<f32> = (0..rows * columns)
                .map(|_| scale * random.normal())
                .collect();
            let fine = ["token_embd", "attn_v", "ffn_down"];
            let fine = fine.iter().any(|part| name.contains(part));
            let format = options.finer.filter(|_| fine).unwrap_or(format);
            let format = format.for_columns(columns);
            writer.tensor(&name, format, &[rows, columns], &values);
        };
    // Norms that differ between columns, so that a test sees a norm that is left out or swapped.
    let norm = |writer: &mut GgufWriter, name: String, phase: usize| {
        let values: Vec<f32> = (0..h)
            .map(|i| 0.75 + ((i * 7 + phase * 3) % 16) as f32 / 32.0)
            .collect();
        writer.tensor(&name, Format::F32, &[h], &values);
    };
    // Of variance one: the embedding is the start of the residual stream, and the logits have spread.
    matrix(
        writer,
        "token_embd.weight".to_owned(),
        vocab,
        h,
        (h as f32).sqrt(),
    );
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        norm(writer, name("attn_norm"), layer);
        matrix(writer, name("attn_q"), q, h, 1.5);
        matrix(writer, name("attn_k"), k, h, 1.5);
        matrix(writer, name("attn_v"), k, h, 1.0);
        matrix(writer, name("attn_output"), h, q, to_residual);
        norm(writer, name("ffn_norm"), layer + 5);
        matrix(writer, name("ffn_gate"), f, h, 1.0);
        matrix(writer, name("ffn_up"), f, h, 1.0);
        matrix(writer, name("ffn_down"), h, f, 2.0 * to_residual);
    }
    norm(writer, "output_norm.weight".to_owned(), layers);
    if !options.tied {
        matrix(writer, "output.weight".to_owned(), vocab, h, 2.0);
    }
    if options.rope_factors {
        let factors: Vec<f32> = (0..options.head_dim() / 2)
            .map(|i| (1 + i) as f32)
            .collect();
        writer.tensor("rope_freqs.weight", Format::F32, &[factors.len()], &factors);
    }
}
