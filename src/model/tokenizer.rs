//! Text to token ids and back, built from the vocabulary and merges in the GGUF file.
//!
//! Byte-level BPE: a text is cut into words by the model's own rule (`tokenizer.ggml.pre`), the bytes of a
//! word are spelled as 256 printable characters, and pairs are merged in the order of their rank. Special
//! tokens written out in a text are recognised first, as the HF transformers library does.

use crate::error::{BADLY_CONVERTED, Error, Result, quote};
use crate::weights::gguf::Gguf;
use std::collections::{HashMap, HashSet};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior};

/// Words of Llama 3: numbers in groups of up to three digits.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of Qwen 2: every digit alone.
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Tokens that end an answer in one model family or another, whatever the file calls its end.
const ENDS: [&str; 8] = [
    "<|endoftext|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
];

/// `tokenizer.ggml.token_type` of what words are merged of.
const TEXT: i32 = 1;
/// `tokenizer.ggml.token_type` of what is not text.
const CONTROL: i32 = 3;
/// `tokenizer.ggml.token_type` of text that is recognised before words are cut.
const USER_DEFINED: i32 = 4;

/// Bytes of the longest special token, and of all of them: each of these costs the library a hundred.
const MOST_SPECIAL_BYTES: usize = 1 << 10;
const MOST_SPECIAL_BYTES_IN_ALL: usize = 4 << 20;

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    tokens: Vec<Token>,
    ends: HashSet<u32>,
    /// The token put before every text, if the model wants one.
    bos: Option<u32>,
}

struct Token {
    bytes: Vec<u8>,
    control: bool,
}

impl Tokenizer {
    /// Builds the tokenizer of a model.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let fail = |message: String, remedy: &str| Error::file(gguf.path(), message, remedy);
        let model: &str = gguf.required("tokenizer.ggml.model")?;
        if model != "gpt2" {
            let message = format!(
                "expected `tokenizer.ggml.model` to be `gpt2` (byte-level BPE), found {}",
                quote(model)
            );
            return Err(fail(
                message,
                "give a model with such a tokenizer, such as SmolLM2 or Llama 3",
            ));
        }
        let texts: Vec<&str> = gguf.required("tokenizer.ggml.tokens")?;
        let ids = ids(gguf, &texts)?;
        let kinds = kinds(gguf, &texts)?;
        let words = Words::from_gguf(gguf)?;
        let add_bos = gguf
            .optional("tokenizer.ggml.add_bos_token")?
            .unwrap_or(words.bos_by_default);
        let bos = gguf
            .optional::<u32>("tokenizer.ggml.bos_token_id")?
            .filter(|id| add_bos && (*id as usize) < texts.len());
        let mut ends: HashSet<u32> = ENDS
            .iter()
            .filter_map(|text| ids.get(text).copied())
            .collect();
        for end in ["eos", "eot", "eom"] {
            ends.extend(gguf.optional::<u32>(&format!("tokenizer.ggml.{end}_token_id"))?);
        }
        let bpe = BPE::builder()
            .vocab_and_merges(
                ids.iter()
                    .map(|(text, id)| ((*text).to_owned(), *id))
                    .collect::<Vocab>(),
                merges(gguf, &ids)?,
            )
            .ignore_merges(words.whole_words_first)
            .build()
            .map_err(|error| {
                fail(
                    format!("expected a byte-level BPE vocabulary: {error}"),
                    BADLY_CONVERTED,
                )
            })?;
        let typed = || texts.iter().copied().zip(kinds.iter().copied());
        let inner = words.tokenizer(bpe, typed()).map_err(|error| {
            fail(
                format!("expected a usable tokenizer: {error}"),
                BADLY_CONVERTED,
            )
        })?;
        Ok(Self {
            inner,
            tokens: typed().map(|(text, kind)| Token::new(text, kind)).collect(),
            ends,
            bos,
        })
    }

    /// The ids of a text. Special tokens written out in it are recognised; the start token is put before it
    /// if the model wants one and the text does not begin with it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.encode_continuation(text)?;
        let bos = self.bos.filter(|bos| ids.first() != Some(bos));
        Ok(bos.into_iter().chain(ids).collect())
    }

    /// The ids of a text that goes on from another, as an answer does from its prompt: without the start token.
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| {
            Error::input(
                format!("the text could not be cut into tokens: {error}"),
                "give a shorter or simpler text",
            )
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids, special tokens written out. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One token as a person may read it: its text, with U+FFFD for parts of characters.
    pub fn piece(&self, id: u32) -> String {
        self.decode(&[id])
    }

    /// The bytes of one token: none if the vocabulary does not have it.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.tokens
            .get(id as usize)
            .map_or(&[], |token| &token.bytes)
    }

    /// Whether a token is a mark for the model, not text.
    pub fn is_control(&self, id: u32) -> bool {
        self.tokens
            .get(id as usize)
            .is_some_and(|token| token.control)
    }

    /// Whether an answer ends with this token.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// The number of tokens.
    pub fn vocab(&self) -> usize {
        self.tokens.len()
    }
}

impl Token {
    fn new(text: &str, kind: i32) -> Self {
        // Special tokens are plain text; a normal token that is not spelled byte-level is taken as it stands.
        let spelled = || text.chars().map(char_to_byte).collect::<Option<Vec<u8>>>();
        let plain = matches!(kind, CONTROL | USER_DEFINED);
        let bytes = if plain { None } else { spelled() };
        Self {
            bytes: bytes.unwrap_or_else(|| text.as_bytes().to_vec()),
            control: kind == CONTROL,
        }
    }
}

/// The id of each token's text.
fn ids<'a>(gguf: &Gguf, texts: &[&'a str]) -> Result<HashMap<&'a str, u32>> {
    let fail = |message: String| Error::file(gguf.path(), message, BADLY_CONVERTED);
    let mut ids = HashMap::with_capacity(texts.len());
    for (id, text) in texts.iter().enumerate() {
        let id =
            u32::try_from(id).map_err(|_| fail("expected fewer than 2^32 tokens".to_owned()))?;
        if let Some(other) = ids.insert(*text, id) {
            return Err(fail(format!(
                "expected every token once in `tokenizer.ggml.tokens`, found {} at {other} and {id}",
                quote(text)
            )));
        }
    }
    Ok(ids)
}

/// What each token is: `CONTROL`, `USER_DEFINED` or text.
fn kinds(gguf: &Gguf, texts: &[&str]) -> Result<Vec<i32>> {
    let fail = |message: String| Error::file(gguf.path(), message, BADLY_CONVERTED);
    let kinds: Option<Vec<i32>> = gguf.optional("tokenizer.ggml.token_type")?;
    let kinds = kinds.unwrap_or_else(|| vec![TEXT; texts.len()]);
    if kinds.len() != texts.len() {
        return Err(fail(format!(
            "expected {} entries in `tokenizer.ggml.token_type`, found {}",
            texts.len(),
            kinds.len()
        )));
    }
    let special = texts.iter().zip(&kinds);
    let special = special.filter(|(_, kind)| matches!(**kind, CONTROL | USER_DEFINED));
    let mut bytes = 0;
    for (text, _) in special {
        bytes += text.len();
        if text.len() > MOST_SPECIAL_BYTES || bytes > MOST_SPECIAL_BYTES_IN_ALL {
            return Err(fail(format!(
                "expected special tokens of at most {MOST_SPECIAL_BYTES} bytes, and {MOST_SPECIAL_BYTES_IN_ALL} in all, found {}",
                quote(text)
            )));
        }
    }
    Ok(kinds)
}

/// The pairs to merge, in order. The library trusts them, so they are checked here.
fn merges(gguf: &Gguf, ids: &HashMap<&str, u32>) -> Result<Vec<(String, String)>> {
    let merges: Vec<&str> = gguf.required("tokenizer.ggml.merges")?;
    let pair = |merge: &str| {
        let (left, right) = merge.split_once(' ')?;
        let merged = format!("{left}{right}");
        let known = [left, right, &merged]
            .iter()
            .all(|text| ids.contains_key(text));
        known.then(|| (left.to_owned(), right.to_owned()))
    };
    let checked = |(index, merge): (usize, &&str)| {
        pair(merge).ok_or_else(|| {
            let message = format!(
                "expected `tokenizer.ggml.merges` to hold two tokens that make a third, found {} at {index}",
                quote(merge)
            );
            Error::file(gguf.path(), message, BADLY_CONVERTED)
        })
    };
    merges.iter().enumerate().map(checked).collect()
}

/// How a model cuts a text into words.
struct Words {
    pre_tokenizer: PreTokenizerWrapper,
    /// A word that is a token is that token, whatever its merges.
    whole_words_first: bool,
    /// Whether the text is brought to Unicode's composed form first.
    nfc: bool,
    bos_by_default: bool,
}

impl Words {
    fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let Some(name) = gguf.optional::<&str>("tokenizer.ggml.pre")? else {
            // Files of before May 2024 lack it, those of Llama 3 too: taken for GPT-2's, its words would be cut wrongly.
            return Err(Error::file(
                gguf.path(),
                "expected `tokenizer.ggml.pre`, which says how words are cut, found none",
                "give a newer file of this model",
            ));
        };
        let sequence = |first: PreTokenizerWrapper, use_regex| {
            PreTokenizerWrapper::Sequence(Sequence::new(vec![
                first,
                ByteLevel::new(false, true, use_regex).into(),
            ]))
        };
        let split = |pattern: &str| {
            let pattern = SplitPattern::Regex(pattern.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .expect("the pattern is a constant that compiles");
            sequence(split.into(), false)
        };
        let plain = |pre_tokenizer| Self {
            pre_tokenizer,
            whole_words_first: false,
            nfc: false,
            bos_by_default: false,
        };
        match name {
            "smollm" => Ok(plain(sequence(Digits::new(true).into(), true))),
            "gpt-2" => Ok(plain(ByteLevel::new(false, true, true).into())),
            "llama-bpe" | "llama3" | "llama-v3" => Ok(Self {
                whole_words_first: true,
                bos_by_default: true,
                ..plain(split(LLAMA_3))
            }),
            "qwen2" => Ok(Self {
                nfc: true,
                ..plain(split(QWEN_2))
            }),
            _ => {
                let message = format!(
                    "expected `tokenizer.ggml.pre` to be smollm, gpt-2, llama-bpe or qwen2, found {}",
                    quote(name)
                );
                Err(Error::file(
                    gguf.path(),
                    message,
                    "give a model whose tokenizer is one of these",
                ))
            }
        }
    }

    /// The library's tokenizer of these words, `bpe`'s merges and tokens of these kinds.
    fn tokenizer<'a>(
        self,
        bpe: BPE,
        tokens: impl Iterator<Item = (&'a str, i32)>,
    ) -> tokenizers::Result<tokenizers::Tokenizer> {
        let mut tokenizer = tokenizers::Tokenizer::new(bpe);
        tokenizer.with_pre_tokenizer(Some(self.pre_tokenizer));
        if self.nfc {
            tokenizer.with_normalizer(Some(NFC))?;
        }
        let added = tokens.filter_map(|(text, kind)| match kind {
            CONTROL => Some(AddedToken::from(text, true)),
            USER_DEFINED => Some(AddedToken::from(text, false).normalized(false)),
            _ => None,
        });
        tokenizer.add_tokens(added.collect::<Vec<_>>())?;
        Ok(tokenizer)
    }
}

/// Text from tokens that come one at a time: a character is held back until all its bytes are there.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    pending: Vec<u8>,
}

impl TextStream {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a token and returns the text that is complete now. Control tokens have none.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        if tokenizer.is_control(id) {
            return self.finish();
        }
        self.pending.extend(tokenizer.bytes(id));
        let mut text = String::new();
        let mut kept = 0;
        let mut chunks = self.pending.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            // At the very end, bytes may be not wrong but unfinished: then the error has no length.
            let unfinished = || {
                std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none())
            };
            if chunks.peek().is_none() && unfinished() {
                kept = chunk.invalid().len();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..self.pending.len() - kept);
        text
    }

    /// What is left at the end, where an unfinished character is U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

/// The character that spells a byte in a byte-level vocabulary: itself if Latin-1 can print it, else the next
/// free one from U+0100 on.
pub(super) fn byte_to_char(byte: u8) -> char {
    let code = u32::from(byte);
    let shifted = match byte {
        0..=0x20 => 0x100 + code,
        0x7f..=0xa0 => 0x121 + code - 0x7f,
        0xad => 0x143,
        _ => code,
    };
    char::from_u32(shifted).expect("below the surrogates")
}

/// The inverse of [`byte_to_char`].
fn char_to_byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => code,
    };
    let byte = u8::try_from(byte).ok()?;
    (byte_to_char(byte) == character).then_some(byte)
}
