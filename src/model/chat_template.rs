//! A conversation to the text of a prompt, by the Jinja template in the GGUF file.
//!
//! Templates are written for Python's Jinja as the HF transformers library sets it up: blocks are trimmed,
//! strings have Python's methods, and there are the functions `raise_exception` and `strftime_now`. A
//! template comes with a file from anywhere, so what it may spend is limited.

mod python;

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result, quote};
use crate::weights::gguf::Gguf;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, context};
use python::{python_method, strftime};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Steps of a template, and through them its time and memory (64 bytes a step): over a hundred times what
/// the longest known template needs for a conversation that fills a context.
const FUEL: u64 = 5_000_000;
/// How deep blocks and macros may call one another.
const RECURSION: usize = 100;

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// A model's chat template. One that does not compile is no error before a chat needs it: such a model still continues text.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    path: PathBuf,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The template of a model.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let Some(source) = gguf.optional::<&str>("tokenizer.chat_template")? else {
            return Err(Error::file(
                gguf.path(),
                "expected a chat template in key `tokenizer.chat_template`, found no such key",
                "this is not a chat model: give it a raw prompt to continue",
            ));
        };
        let tokens: Vec<&str> = gguf.optional("tokenizer.ggml.tokens")?.unwrap_or_default();
        let token = |key: &str| -> Result<String> {
            let id: Option<u32> = gguf.optional(key)?;
            Ok(id
                .and_then(|id| tokens.get(id as usize))
                .map_or_else(String::new, |text| (*text).to_owned()))
        };
        let path = gguf.path().to_path_buf();
        let (bos, eos) = (
            token("tokenizer.ggml.bos_token_id")?,
            token("tokenizer.ggml.eos_token_id")?,
        );
        Ok(Self {
            environment: environment(),
            source: source.to_owned(),
            path,
            bos,
            eos,
        })
    }

    /// The token with which a turn of the assistant ends, if the template puts one there.
    pub fn answer_end(&self, tokenizer: &Tokenizer) -> Option<u32> {
        const ANSWER: &str = "ANSWER";
        let turns = [
            Message::new("user", "QUESTION"),
            Message::new("assistant", ANSWER),
        ];
        let text = self.render(&turns, false).ok()?;
        let (_, behind) = text.rsplit_once(ANSWER)?;
        let ids = tokenizer.encode_continuation(behind).ok()?;
        ids.into_iter().find(|id| tokenizer.is_end(*id))
    }

    /// The text of a conversation, and with `add_generation_prompt` the start of the assistant's next turn.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let template = self
            .environment
            .template_from_named_str("chat", &self.source)
            .map_err(|error| failed(&self.path, &error))?;
        let turn = |message: &Message| context! { role => message.role.as_str(), content => message.content.as_str() };
        let context = context! {
            messages => messages.iter().map(turn).collect::<Vec<_>>(),
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        template
            .render(context)
            .map_err(|error| failed(&self.path, &error))
    }
}

/// One line, although a template's error may quote the template.
fn failed(path: &std::path::Path, error: &minijinja::Error) -> Error {
    let line = error
        .line()
        .map(|line| format!(" in line {line}"))
        .unwrap_or_default();
    let detail = error
        .detail()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    let message = format!("the chat template failed{line}: {}{detail}", error.kind());
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    Error::file(
        path,
        message,
        "change the conversation, or give prompts as they are, with `first run --raw`",
    )
}

/// Jinja as the HF transformers library sets it up, with limits.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    // Fuel counts what a list holds after it was written, when memory may be gone; no template writes one.
    environment.set_formatter(|out, state, value| match value.as_object() {
        Some(_) => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "templates write texts and numbers, not lists",
        )),
        None => minijinja::escape_formatter(out, state, value),
    });
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_unknown_method_callback(python_method);
    environment.add_function(
        "raise_exception",
        |message: String| -> std::result::Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment.add_function("strftime_now", |format: String| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_secs());
        strftime(&format, now).ok_or_else(|| {
            let message = format!("`strftime_now` knows not all of {}", quote(&format));
            minijinja::Error::new(ErrorKind::InvalidOperation, message)
        })
    });
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> std::result::Result<String, minijinja::Error> {
        let environment = environment();
        environment.render_str(
            source,
            context! { text => "  a b-c b ", map => context! { key => 1 } },
        )
    }

    #[test]
    fn python_methods() {
        for (source, expected) in [
            ("{{ text.strip() }}|", "a b-c b|"),
            (
                "{{ text.lstrip() }}|{{ text.rstrip() }}|",
                "a b-c b |  a b-c b|",
            ),
            ("{{ 'xxaxx'.strip('x') }}", "a"),
            ("{{ text.split() | length }}", "3"),
            ("{{ 'a-b-c'.split('-')[-1] }}", "c"),
            ("{{ 'a-b-c'.split('-', 1)[1] }}", "b-c"),
            ("{{ ' a  b  c '.split(none, 1) | join('|') }}", "a|b  c "),
            ("{{ 'a  b  c'.split(none, 2) | join('|') }}", "a|b|c"),
            ("{{ 'a '.split(none, 1) | length }}", "1"),
            (
                "{{ 'abc'.startswith('ab') and 'abc'.endswith('bc') }}",
                "True",
            ),
            ("{{ 'aXa'.replace('a', 'b').upper() }}", "BXB"),
            ("{{ 'aXa'.lower() }}", "axa"),
            ("{{ map.values() | join }}", "1"),
            ("{{ 'a\nb\r\n\nc\n'.splitlines() | join('|') }}", "a|b||c"),
            ("{{ ''.splitlines() | length }}", "0"),
            ("{{ 'abab'.count('ab') }}", "2"),
            ("{{ 'abc'.removeprefix('ab').removesuffix('x') }}", "c"),
            (
                "{{ '12'.isdigit() and not '1a'.isdigit() and not ''.isdigit() }}",
                "True",
            ),
            ("{{ ', '.join(['a', 'b']) }}", "a, b"),
            ("{{ 'a bC'.title() }}", "A Bc"),
            ("{{ 'aB'.capitalize() }}", "Ab"),
            ("{{ map.get('key') }}{{ map.get('other', 2) }}", "12"),
            (
                "{% for k, v in map.items() %}{{ k }}{{ v }}{% endfor %}",
                "key1",
            ),
            ("{{ 'abc'.find('c') }}", "2"),
            ("{% if true %}\n  x\n{% endif %}\n", "  x\n"),
        ] {
            let found = render(source).unwrap_or_else(|error| panic!("{source}: {error}"));
            assert_eq!(found, expected, "{source}");
        }
    }

    #[test]
    fn templates_cannot_run_away() {
        for source in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{{ 'x' * 9999999999 }}",
            "{{ text.nothing() }}",
            "{{ raise_exception('no system turns') }}",
            "{% include 'other' %}",
            "{{ [text] }}",
            "{{ strftime_now('%q') }}",
            "{% set a = 'a' * 3000000 %}{% for i in range(99) %}{{ 'x'.strip(a) }}{% endfor %}",
        ] {
            assert!(render(source).is_err(), "{source}");
        }
    }

    #[test]
    fn trimming_takes_no_longer_for_many_characters() {
        let source = "{% set a = 'a' * 3000000 %}{{ a.strip('b' * 3000000 ~ 'a') | length }}";
        let clock = std::time::Instant::now();
        assert_eq!(render(source).expect("renders"), "0");
        // A search for each character would take minutes.
        assert!(clock.elapsed().as_secs() < 20, "{:?}", clock.elapsed());
    }
}
