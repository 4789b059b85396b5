//! Text to ids and back: on the generated model, and against transformers where a reference folder is.

use first_wgpu::model::chat_template::{ChatTemplate, Message};
use first_wgpu::model::config::Config;
use first_wgpu::model::tiny::{TinyOptions, write_tiny};
use first_wgpu::model::tokenizer::{TextStream, Tokenizer};
use first_wgpu::weights::gguf::Gguf;
use first_wgpu::weights::gguf_writer::GgufWriter;
use proptest::prelude::*;
use std::path::PathBuf;

fn open(write: impl FnOnce(&std::path::Path)) -> Gguf {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    write(&path);
    // Where a mapped file cannot be removed, the folder stays until the system clears it.
    Gguf::open(path).expect("a valid file")
}

fn tiny() -> Gguf {
    open(|path| write_tiny(path, &TinyOptions::default()).expect("the generated model"))
}

#[test]
fn merges_apply_by_rank_and_specials_are_recognised() {
    let tokenizer = Tokenizer::from_gguf(&tiny()).expect("a tokenizer");
    assert_eq!(tokenizer.vocab(), 320);
    let ids = tokenizer
        .encode("<|im_start|>user\nhello the 42<|im_end|>")
        .expect("ids");
    let pieces: Vec<String> = ids.iter().map(|&id| tokenizer.piece(id)).collect();
    assert_eq!(
        pieces,
        [
            "<|im_start|>",
            "user",
            "\n",
            "hello",
            " the",
            " ",
            "4",
            "2",
            "<|im_end|>"
        ]
    );
    assert!(tokenizer.is_end(2) && tokenizer.is_end(0) && !tokenizer.is_end(1));
    assert!(tokenizer.is_control(1) && !tokenizer.is_control(ids[1]));
    assert!(tokenizer.encode("").expect("ids").is_empty());
    assert_eq!(tokenizer.decode(&[9999]), "");
}

#[test]
fn a_stream_holds_back_unfinished_characters() {
    let tokenizer = Tokenizer::from_gguf(&tiny()).expect("a tokenizer");
    let ids = tokenizer.encode("é🙂").expect("ids");
    let mut stream = TextStream::new();
    let texts: Vec<String> = ids.iter().map(|&id| stream.push(&tokenizer, id)).collect();
    assert_eq!(texts, ["", "é", "", "", "", "🙂"]);
    assert_eq!(stream.finish(), "");
    // Cut off in the middle, and a control token in the middle.
    let cut: String = ids[..4]
        .iter()
        .map(|&id| stream.push(&tokenizer, id))
        .collect();
    assert_eq!(
        (cut.as_str(), stream.push(&tokenizer, 2).as_str()),
        ("é", "\u{fffd}")
    );
    assert_eq!(stream.finish(), "");
}

proptest! {
    #[test]
    fn text_round_trips(text in "(\\PC|[ \t\n])*") {
        let tokenizer = TOKENIZER.with(Clone::clone);
        let ids = tokenizer.encode(&text).expect("ids");
        prop_assert_eq!(&tokenizer.decode(&ids), &text);
        let mut stream = TextStream::new();
        let streamed: String = ids.iter().map(|&id| stream.push(&tokenizer, id)).collect();
        prop_assert_eq!(streamed, text);
    }

    /// Any ids at all give text, and a stream gives the same text.
    #[test]
    fn any_ids_stream_as_they_decode(ids in prop::collection::vec(3u32..320, 0..40)) {
        let tokenizer = TOKENIZER.with(Clone::clone);
        let mut stream = TextStream::new();
        let mut streamed: String = ids.iter().map(|&id| stream.push(&tokenizer, id)).collect();
        streamed.push_str(&stream.finish());
        prop_assert_eq!(streamed, tokenizer.decode(&ids));
    }
}

thread_local! {
    static TOKENIZER: std::rc::Rc<Tokenizer> = std::rc::Rc::new(Tokenizer::from_gguf(&tiny()).expect("a tokenizer"));
}

#[test]
fn long_runs_of_one_character_come_back() {
    let tokenizer = Tokenizer::from_gguf(&tiny()).expect("a tokenizer");
    for text in [
        " ".repeat(200_000),
        "\n".repeat(200_000),
        "7".repeat(20_000),
    ] {
        let ids = tokenizer.encode(&text).expect("ids");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn the_template_makes_a_prompt() {
    let gguf = tiny();
    let template = ChatTemplate::from_gguf(&gguf).expect("a template");
    let messages = [
        Message::new("user", "hi"),
        Message::new("assistant", "ho"),
        Message::new("user", "<b>&\""),
    ];
    assert_eq!(
        template.render(&messages, true).expect("a prompt"),
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n<|im_start|>user\n<b>&\"<|im_end|>\n\
         <|im_start|>assistant\n"
    );
    assert_eq!(template.render(&[], false).expect("a prompt"), "");
}

/// A file with only a vocabulary.
fn vocabulary(change: impl FnOnce(&mut GgufWriter)) -> Gguf {
    open(|path| {
        let mut writer = GgufWriter::new();
        change(&mut writer);
        writer.write(path).expect("a file");
    })
}

#[test]
fn wrong_vocabularies_are_errors() {
    let tokens = ["a", "b", "ab"];
    let cases: [(&str, Gguf); 8] = [
        (
            "`gpt2`",
            vocabulary(|w| {
                w.str("tokenizer.ggml.model", "llama");
            }),
        ),
        (
            "smollm, gpt-2, llama-bpe or qwen2, found `new`",
            vocabulary(|w| {
                w.str("tokenizer.ggml.model", "gpt2")
                    .str("tokenizer.ggml.pre", "new")
                    .strings("tokenizer.ggml.tokens", &tokens);
            }),
        ),
        (
            // Its words are not GPT-2's.
            "smollm, gpt-2, llama-bpe or qwen2, found `default`",
            vocabulary(|w| {
                w.str("tokenizer.ggml.model", "gpt2")
                    .str("tokenizer.ggml.pre", "default")
                    .strings("tokenizer.ggml.tokens", &tokens);
            }),
        ),
        (
            "special tokens of at most 1024 bytes",
            vocabulary(|w| {
                let long = "x".repeat(1025);
                w.str("tokenizer.ggml.model", "gpt2")
                    .str("tokenizer.ggml.pre", "gpt-2")
                    .strings("tokenizer.ggml.tokens", &["a", "b", &long])
                    .i32s("tokenizer.ggml.token_type", &[1, 1, 4]);
            }),
        ),
        (
            "says how words are cut, found none",
            vocabulary(|w| {
                w.str("tokenizer.ggml.model", "gpt2")
                    .strings("tokenizer.ggml.tokens", &tokens);
            }),
        ),
        (
            "found `b b` at 1",
            vocabulary(|w| {
                w.str("tokenizer.ggml.model", "gpt2")
                    .str("tokenizer.ggml.pre", "gpt-2")
                    .strings("tokenizer.ggml.tokens", &tokens)
                    .strings("tokenizer.ggml.merges", &["a b", "b b"]);
            }),
        ),
        (
            "found `a` at 0 and 3",
            vocabulary(|w| {
                w.str("tokenizer.ggml.model", "gpt2")
                    .strings("tokenizer.ggml.tokens", &["a", "b", "ab", "a"]);
            }),
        ),
        (
            "expected 3 entries in `tokenizer.ggml.token_type`, found 2",
            vocabulary(|w| {
                w.str("tokenizer.ggml.model", "gpt2")
                    .strings("tokenizer.ggml.tokens", &tokens)
                    .i32s("tokenizer.ggml.token_type", &[1, 1]);
            }),
        ),
    ];
    for (expected, gguf) in cases {
        let Err(error) = Tokenizer::from_gguf(&gguf) else {
            panic!("{expected}: was accepted")
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
    let Err(error) = ChatTemplate::from_gguf(&vocabulary(|_| ())) else {
        panic!("no template was accepted")
    };
    assert!(
        error.to_string().contains("give it a raw prompt"),
        "{error}"
    );
    // What transformers passes where there are none is none, and not unknown.
    let gguf = vocabulary(|w| {
        let tools = "{% if tools is not none or documents is not none %}tools{% endif %}";
        w.str("tokenizer.chat_template", tools);
    });
    let template = ChatTemplate::from_gguf(&gguf).expect("a template");
    assert_eq!(template.render(&[], true).expect("a prompt"), "");
    // A template that does not compile is in the way of chats alone.
    let gguf = vocabulary(|w| {
        w.str("tokenizer.chat_template", "{% generation %}");
    });
    let template = ChatTemplate::from_gguf(&gguf).expect("is not needed yet");
    let error = template.render(&[], true).expect_err("unknown").to_string();
    assert!(
        error.contains("unknown statement") && error.contains("`first run --raw`"),
        "{error}"
    );
}

/// Files of Llama 3 may call the end of a text its end, where the template ends a turn otherwise.
#[test]
fn an_answer_ends_as_the_template_ends_it() {
    let end = |template: &str| {
        let gguf = vocabulary(|w| {
            let tokens = ["a", "<|end_of_text|>", "<|eot_id|>"];
            w.str("tokenizer.ggml.model", "gpt2")
                .str("tokenizer.ggml.pre", "gpt-2")
                .strings("tokenizer.ggml.tokens", &tokens)
                .i32s("tokenizer.ggml.token_type", &[1, 3, 3])
                .strings::<&str>("tokenizer.ggml.merges", &[])
                .u32("tokenizer.ggml.eos_token_id", 1)
                .str("tokenizer.chat_template", template);
        });
        let tokenizer = Tokenizer::from_gguf(&gguf).expect("a tokenizer");
        let template = ChatTemplate::from_gguf(&gguf).expect("a template");
        template.answer_end(&tokenizer)
    };
    let turns = "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}";
    assert_eq!(end(turns), Some(2));
    assert_eq!(
        end("{% for m in messages %}{{ m.content }}a{% endfor %}"),
        None
    );
    assert_eq!(end("{{ raise_exception('none') }}"), None);
}

/// Bytes as tokens, and digits that merge to `1234`: how a text is cut shows in what may merge.
#[test]
fn words_are_cut_as_the_model_says() {
    let tokenizer = |pre: &str| {
        let gguf = vocabulary(|writer| {
            // Printable bytes spell themselves; `Ġ` is a space, `Ċ` a newline, and the last two are `é`.
            let mut tokens: Vec<String> = ('!'..='~').map(String::from).collect();
            tokens.extend(
                ["Ġ", "Ċ", "Ã", "©", "12", "123", "1234", "ĠĠ", "ab", "'S"].map(str::to_owned),
            );
            writer
                .str("tokenizer.ggml.model", "gpt2")
                .str("tokenizer.ggml.pre", pre)
                .strings("tokenizer.ggml.tokens", &tokens)
                .strings(
                    "tokenizer.ggml.merges",
                    &["1 2", "12 3", "123 4", "Ġ Ġ", "a b", "' S"],
                )
                .u32("tokenizer.ggml.bos_token_id", 0);
        });
        Tokenizer::from_gguf(&gguf).expect(pre)
    };
    let pieces = |tokenizer: &Tokenizer, ids: Vec<u32>| -> Vec<String> {
        ids.iter().map(|&id| tokenizer.piece(id)).collect()
    };
    let cut = |pre: &str, text: &str| {
        let tokenizer = tokenizer(pre);
        let ids = tokenizer.encode(text).expect("ids");
        pieces(&tokenizer, ids)
    };
    assert_eq!(cut("gpt-2", "1234"), ["1234"]);
    assert_eq!(cut("smollm", "1234"), ["1", "2", "3", "4"]);
    assert_eq!(cut("qwen2", "1234"), ["1", "2", "3", "4"]);
    // Llama 3 starts every text with its start token, here `!`.
    assert_eq!(cut("llama-bpe", "1234"), ["!", "123", "4"]);
    assert_eq!(cut("llama-bpe", "!a"), ["!", "a"]);
    let llama = tokenizer("llama-bpe");
    let answer = llama.encode_continuation("1234").expect("ids");
    assert_eq!(pieces(&llama, answer), ["123", "4"]);
    // Contractions are cut whatever their case, except in GPT-2's rule.
    assert_eq!(cut("qwen2", "x'S"), ["x", "'S"]);
    // Of three spaces before a word, the word takes one.
    assert_eq!(cut("gpt-2", "   ab"), ["  ", " ", "ab"]);
    // Composed by Qwen 2's normaliser: without it, `e` stays and its accent has no token.
    assert_eq!(cut("qwen2", "e\u{301}").len(), 2);
    assert_eq!(cut("gpt-2", "e\u{301}")[0], "e");
}

/// Ids of the reference folder's texts, from transformers. Needs FIRST_MODEL and FIRST_REFERENCE.
#[test]
#[ignore = "needs the default model and a reference folder: set FIRST_MODEL and FIRST_REFERENCE"]
fn ids_equal_the_reference() {
    let variable =
        |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("set {name}")));
    let gguf = Gguf::open(variable("FIRST_MODEL")).expect("the model");
    Config::from_gguf(&gguf).expect("a configuration");
    let tokenizer = Tokenizer::from_gguf(&gguf).expect("a tokenizer");
    let template = ChatTemplate::from_gguf(&gguf).expect("a template");
    let file = std::fs::File::open(variable("FIRST_REFERENCE").join("reference.json"))
        .expect("the reference");
    let entries: Vec<serde_json::Value> = serde_json::from_reader(file).expect("a list");
    assert!(!entries.is_empty());
    for (index, entry) in entries.iter().enumerate() {
        let ids =
            |key: &str| -> Vec<u32> { serde_json::from_value(entry[key].clone()).expect("ids") };
        let text = |key: &str| entry[key].as_str().expect("text");
        assert_eq!(
            template
                .render(&[Message::new("user", text("prompt"))], true)
                .expect("a prompt"),
            text("text"),
            "entry {index}"
        );
        assert_eq!(
            tokenizer.encode(text("text")).expect("ids"),
            ids("ids"),
            "entry {index}"
        );
        assert_eq!(tokenizer.decode(&ids("ids")), text("text"), "entry {index}");
        assert_eq!(
            tokenizer.decode(&ids("greedy")),
            text("greedy_text"),
            "entry {index}"
        );
    }
}

/// The first hidden states of the reference are rows of the embedding, decoded: equal to the last bit.
#[test]
#[ignore = "needs the default model and a reference folder: set FIRST_MODEL and FIRST_REFERENCE"]
fn decoded_rows_equal_the_reference() {
    let variable =
        |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("set {name}")));
    let gguf = Gguf::open(variable("FIRST_MODEL")).expect("the model");
    let folder = variable("FIRST_REFERENCE");
    let file = std::fs::File::open(folder.join("reference.json")).expect("the reference");
    let entries: Vec<serde_json::Value> = serde_json::from_reader(file).expect("a list");
    let ids: Vec<usize> = serde_json::from_value(entries[0]["ids"].clone()).expect("ids");
    let npy = std::fs::read(folder.join("prompt0_hidden_states.npy")).expect("the hidden states");
    // An npy file: ten bytes, the last two the length of a header in Python's words, then the numbers.
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let numbers = npy[header..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let embedding = gguf.tensor("token_embd.weight").expect("the embedding");
    let mut row = vec![0.0; embedding.columns()];
    let expected: Vec<f32> = numbers.take(ids.len() * row.len()).collect();
    for (id, expected) in ids.into_iter().zip(expected.chunks(row.len())) {
        embedding.format.decode_row(embedding.row(id), &mut row);
        assert_eq!(row, expected, "token {id}");
    }
    let sha256 = first_wgpu::pull::sha256(gguf.path());
    assert_eq!(sha256.expect("reads"), first_wgpu::pull::SHA256);
}
