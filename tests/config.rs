//! What a model's file may say about its shape, and what it may not.

use first_wgpu::model::config::Config;
use first_wgpu::model::tiny::{TinyOptions, tiny_bytes, write_tiny};
use first_wgpu::weights::Format;
use first_wgpu::weights::gguf::Gguf;
use first_wgpu::weights::gguf_writer::GgufWriter;
use proptest::prelude::*;

fn open(bytes: &[u8]) -> Result<Config, first_wgpu::Error> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, bytes).expect("a file");
    Config::from_gguf(&Gguf::open(path)?)
}

#[test]
fn the_generated_model_in_every_format() {
    for format in Format::ALL {
        for tied in [false, true] {
            // Rows are whole blocks.
            let hidden = format.block_len().max(64);
            let options = TinyOptions {
                format,
                tied,
                hidden,
                feed_forward: 2 * hidden,
                ..TinyOptions::default()
            };
            let config = open(&tiny_bytes(&options)).expect("a valid model");
            assert_eq!(
                (
                    config.layers,
                    config.hidden,
                    config.heads,
                    config.kv_heads,
                    config.head_dim
                ),
                (4, hidden, 4, 2, hidden / 4)
            );
            assert_eq!(
                (
                    config.vocab,
                    config.context,
                    config.feed_forward,
                    config.tied_head
                ),
                (320, 256, 2 * hidden, tied)
            );
            assert_eq!(
                (config.query_rows(), config.key_rows(), config.rope_base),
                (hidden, hidden / 2, 10_000.0)
            );
            assert_eq!((config.eos, config.name.as_str()), (Some(2), "Tiny"));
            assert_eq!(config.tensors().count(), 2 + 4 * 9 + usize::from(!tied));
        }
    }
}

#[test]
fn the_same_options_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tiny.gguf");
    write_tiny(&path, &TinyOptions::default()).expect("written");
    assert_eq!(
        std::fs::read(&path).expect("read"),
        tiny_bytes(&TinyOptions::default())
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        1,
        "no temporary file is left"
    );
    let other = TinyOptions {
        seed: 2,
        ..TinyOptions::default()
    };
    assert_ne!(tiny_bytes(&other), tiny_bytes(&TinyOptions::default()));
    assert!(write_tiny(folder.path().join("none/tiny.gguf"), &other).is_err());
}

/// Sets the value that follows a key of type u32 or f32.
fn set(key: &str, value: [u8; 4]) -> Vec<u8> {
    let mut bytes = tiny_bytes(&TinyOptions::default());
    let at = bytes
        .windows(key.len())
        .position(|w| w == key.as_bytes())
        .expect("the key")
        + key.len()
        + 4;
    bytes[at..at + 4].copy_from_slice(&value);
    bytes
}

/// Replaces a text by another of its length.
fn replace(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = tiny_bytes(&TinyOptions::default());
    let at = bytes
        .windows(from.len())
        .position(|w| w == from.as_bytes())
        .expect("the text");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

#[test]
fn wrong_configurations_name_the_key() {
    let number = |key: &str, value: u32| set(key, value.to_le_bytes());
    for (bytes, expected) in [
        (
            replace("llama", "gemma"),
            "expected a model of architecture `llama`, found `gemma`",
        ),
        (
            number("llama.block_count", 0),
            "`llama.block_count` to be a number from 1 to 4096, found 0",
        ),
        (
            number("llama.block_count", u32::MAX),
            "`llama.block_count` to be a number from 1 to 4096",
        ),
        (
            number("llama.block_count", 5),
            "expected a tensor `blk.4.attn_norm.weight`",
        ),
        (
            number("llama.block_count", 3),
            "in a `llama` model of 3 layers",
        ),
        (
            number("llama.context_length", 0),
            "`llama.context_length` to be a number",
        ),
        (
            number("llama.embedding_length", 72),
            "`llama.embedding_length` to be a multiple of 32, found 72",
        ),
        (
            number("llama.embedding_length", 128),
            "`llama.rope.dimension_count` to be the head size 32, found 16",
        ),
        (
            number("llama.attention.head_count", 0),
            "`llama.attention.head_count` to be a number",
        ),
        (
            number("llama.attention.head_count_kv", 3),
            "to be a divisor of the 4 heads, found 3",
        ),
        (
            number("llama.attention.head_count_kv", 4),
            "shape [64, 64] of tensor `blk.0.attn_k.weight` (model.layers.0.self_attn.k_proj.weight), found [32, 64]",
        ),
        (
            number("llama.attention.head_count", 64),
            "`llama.attention.key_length` to be a multiple of 4 from 4 to 128, found 1",
        ),
        (
            number("llama.attention.head_count", 1 << 16),
            "`llama.attention.head_count` to be a number from 1 to 2048, found 65536",
        ),
        (
            number("llama.feed_forward_length", 1 << 21),
            "`llama.feed_forward_length` to be a number from 1 to 262144, found 2097152",
        ),
        (
            number("llama.feed_forward_length", 97),
            "`llama.feed_forward_length` to be a multiple of 32, found 97",
        ),
        (
            number("llama.rope.dimension_count", 8),
            "`llama.rope.dimension_count` to be the head size 16, found 8",
        ),
        (
            set("llama.rope.freq_base", f32::NAN.to_le_bytes()),
            "`llama.rope.freq_base` to be a number above 0, found NaN",
        ),
        (
            set(
                "llama.attention.layer_norm_rms_epsilon",
                (-1f32).to_le_bytes(),
            ),
            "to be a number above 0, found -1",
        ),
        (
            number("tokenizer.ggml.eos_token_id", 320),
            "`tokenizer.ggml.eos_token_id` to be below the vocabulary's 320",
        ),
        (
            replace("llama.block_count", "llama.block_cound"),
            "a u32 in key `llama.block_count`, found no such key",
        ),
        (
            replace("blk.3.ffn_up.weight", "blk.3.ffn_up.wrong!"),
            "expected a tensor `blk.3.ffn_up.weight`, found none",
        ),
    ] {
        let error = open(&bytes).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\n  expected {expected}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_name_holds_nothing_that_terminals_obey() {
    let name = |bytes: &[u8]| open(bytes).expect("valid").name;
    assert_eq!(name(&tiny_bytes(&TinyOptions::default())), "Tiny");
    assert_eq!(name(&replace("Tiny", "\u{1b}[2J")), "[2J");
}

proptest! {
    /// A damaged model is a model or a one-line error.
    #[test]
    fn damaged_models_never_panic(changes in prop::collection::vec((0usize..16_384, any::<u8>()), 1..5)) {
        let mut bytes = BYTES.with(Clone::clone);
        for (at, value) in changes {
            bytes[at] = value;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tiny.gguf");
        std::fs::write(&path, bytes).expect("a file");
        let Ok(gguf) = Gguf::open(path) else { return Ok(()) };
        for error in [
            Config::from_gguf(&gguf).err(),
            first_wgpu::model::tokenizer::Tokenizer::from_gguf(&gguf).err(),
            first_wgpu::model::chat_template::ChatTemplate::from_gguf(&gguf).err(),
        ].into_iter().flatten() {
            prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

thread_local! {
    static BYTES: Vec<u8> = tiny_bytes(&TinyOptions::default());
}

/// Files that would load and then compute something else, or are not whole.
#[test]
fn what_we_do_not_run_is_refused() {
    type Write = fn(&mut GgufWriter) -> &mut GgufWriter;
    let cases: [(Write, &str); 6] = [
        (|file| file.u32("split.count", 3), "found one of 3 parts"),
        (
            |file| file.u32("llama.expert_count", 8),
            "`llama.expert_count` to be 0, a model without experts, found 8",
        ),
        (
            |file| file.str("llama.rope.scaling.type", "yarn"),
            "`llama.rope.scaling.type` to be `none`, found `yarn`",
        ),
        (
            |file| file.f32("llama.rope.scaling.factor", 4.0),
            "`llama.rope.scaling.factor` to be 1, positions that are not scaled, found 4",
        ),
        (
            |file| file.f32("llama.rope.scale_linear", 2.0),
            "`llama.rope.scale_linear` to be 1, positions that are not scaled, found 2",
        ),
        // And nothing but these.
        (
            |file| file.str("general.file", "nothing else"),
            "in key `llama.block_count`, found no such key",
        ),
    ];
    for (write, expected) in cases {
        let mut file = GgufWriter::new();
        file.str("general.architecture", "llama");
        write(&mut file);
        let error = open(&file.to_bytes()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    // Factors of RoPE: one for each pair, above 0.
    let bytes = tiny_bytes(&TinyOptions::llama3());
    let config = open(&bytes).expect("a valid model");
    let factors: Vec<f32> = (1..=12).map(|factor| factor as f32).collect();
    assert_eq!(config.rope_factors, Some(factors.clone()));
    let spelled: Vec<u8> = factors
        .iter()
        .flat_map(|factor| factor.to_le_bytes())
        .collect();
    let at = bytes
        .windows(spelled.len())
        .rposition(|window| window == spelled)
        .expect("the factors");
    for wrong in [0.0, -1.0, f32::NAN] {
        let mut bytes = bytes.clone();
        bytes[at + 4..at + 8].copy_from_slice(&wrong.to_le_bytes());
        let error = open(&bytes).expect_err("no factor").to_string();
        assert!(
            error.contains("expected numbers above 0 in tensor `rope_freqs.weight`"),
            "{error}"
        );
    }
}
