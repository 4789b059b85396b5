//! A conversation to the text of a prompt, by the Jinja template in the GGUF file.
//!
//! Templates are written for Python's Jinja as the HF transformers library sets it up: blocks are trimmed,
//! strings have Python's methods, and there are the functions `raise_exception` and `strftime_now`. A
//! template comes with a file from anywhere, so what it may spend is limited.

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result, quote};
use crate::weights::gguf::Gguf;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Environment, ErrorKind, State, context};
use std::collections::HashSet;
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

/// The methods of Python's strings and dictionaries that templates call.
fn python_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> std::result::Result<Value, minijinja::Error> {
    let filter = |state: &mut State<'_, '_>, name: &str| {
        let args: Vec<Value> = std::iter::once(value).chain(args).cloned().collect();
        state.apply_filter(name, &args)
    };
    if value.kind() == ValueKind::Map {
        return match method {
            "items" => filter(state, "items"),
            "keys" => filter(state, "list"),
            "values" => {
                from_args::<()>(args)?;
                let values = value.try_iter()?.map(|key| value.get_item(&key));
                values
                    .collect::<std::result::Result<Vec<_>, _>>()
                    .map(Value::from)
            }
            "get" => {
                let (key, default): (Value, Option<Value>) = from_args(args)?;
                let found = value.get_item(&key)?;
                Ok(if found.is_undefined() {
                    default.unwrap_or(Value::from(()))
                } else {
                    found
                })
            }
            _ => Err(ErrorKind::UnknownMethod.into()),
        };
    }
    let Some(text) = value.as_str() else {
        return Err(ErrorKind::UnknownMethod.into());
    };
    // What is looked for is gone through before the text is, and costs nothing else.
    for argument in args.iter().filter_map(Value::as_str) {
        state.consume_fuel(argument.len() as u64 / 8)?;
    }
    let trim = |start: bool, end: bool| -> std::result::Result<Value, minijinja::Error> {
        let (characters,): (Option<String>,) = from_args(args)?;
        // As a set: a template may be given millions of characters to look for.
        let set: Option<HashSet<char>> = characters.map(|characters| characters.chars().collect());
        let cut = |c: char| {
            set.as_ref()
                .map_or(c.is_whitespace(), |set| set.contains(&c))
        };
        let text = if start {
            text.trim_start_matches(cut)
        } else {
            text
        };
        Ok(Value::from(if end {
            text.trim_end_matches(cut)
        } else {
            text
        }))
    };
    match method {
        "strip" => trim(true, true),
        "lstrip" => trim(true, false),
        "rstrip" => trim(false, true),
        "upper" | "lower" | "title" | "capitalize" | "replace" => filter(state, method),
        "startswith" => {
            from_args(args).map(|(prefix,): (&str,)| Value::from(text.starts_with(prefix)))
        }
        "endswith" => from_args(args).map(|(suffix,): (&str,)| Value::from(text.ends_with(suffix))),
        "find" => from_args(args).map(|(part,): (&str,)| {
            Value::from(
                text.find(part)
                    .map_or(-1, |at| text[..at].chars().count() as i64),
            )
        }),
        "count" => from_args(args).map(|(part,): (&str,)| Value::from(text.matches(part).count())),
        "removeprefix" => from_args(args)
            .map(|(part,): (&str,)| Value::from(text.strip_prefix(part).unwrap_or(text))),
        "removesuffix" => from_args(args)
            .map(|(part,): (&str,)| Value::from(text.strip_suffix(part).unwrap_or(text))),
        "isdigit" => from_args::<()>(args).map(|()| {
            Value::from(!text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit()))
        }),
        "join" => {
            let (items,): (Value,) = from_args(args)?;
            state.apply_filter("join", &[items, value.clone()])
        }
        "split" => split(text, args),
        "splitlines" => {
            from_args::<()>(args).map(|()| split_lines(text).map(Value::from).collect())
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

/// Python's `str.split`: at whitespace without a separator, at most `maxsplit` times.
fn split(text: &str, args: &[Value]) -> std::result::Result<Value, minijinja::Error> {
    let (separator, most, named): (Option<String>, Option<i64>, Kwargs) = from_args(args)?;
    let most = most
        .or(named.get("maxsplit")?)
        .and_then(|most| usize::try_from(most).ok());
    named.assert_all_used()?;
    let pieces = most.map_or(usize::MAX, |most| most.saturating_add(1));
    Ok(match separator.as_deref() {
        Some("") => {
            return Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                "split at an empty separator",
            ));
        }
        Some(separator) => text.splitn(pieces, separator).map(Value::from).collect(),
        None => split_at_whitespace(text, pieces).map(Value::from).collect(),
    })
}

/// Python's `str.splitlines`, for the ends of lines that texts have.
fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let one = after.strip_prefix("\r\n").or(after.get(1..));
        rest = one.unwrap_or_default();
        Some(line)
    })
}

/// At most so many pieces, of which the last is all that is left.
fn split_at_whitespace(text: &str, pieces: usize) -> impl Iterator<Item = &str> {
    let mut rest = text.trim_start();
    (1..=pieces).map_while(move |piece| {
        if rest.is_empty() {
            return None;
        }
        let end = match piece == pieces {
            true => rest.len(),
            false => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        let (piece, after) = rest.split_at(end);
        rest = after.trim_start();
        Some(piece)
    })
}

/// Python's `strftime` for the directives that templates use, in UTC: a prompt should not tell where it was
/// written. `None` if there is another, which would be left in the prompt.
fn strftime(format: &str, seconds: u64) -> Option<String> {
    const DAYS: [&str; 7] = [
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
    ];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let days = seconds / 86_400;
    let (year, month, day) = civil_date(days);
    let (weekday, month_name) = (DAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        // `%-d` is without the zero in front.
        let directive = characters.next()?;
        let (bare, directive) = match directive {
            '-' => (true, characters.next()?),
            _ => (false, directive),
        };
        let two = |number: u64| match bare {
            true => number.to_string(),
            false => format!("{number:02}"),
        };
        let hour = seconds / 3600 % 24;
        out += &match directive {
            'Y' => year.to_string(),
            'y' => two(year % 100),
            'm' => two(month),
            'd' => two(day),
            'e' if bare => day.to_string(),
            'e' => format!("{day:2}"),
            'B' => month_name.to_owned(),
            'b' => month_name[..3].to_owned(),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'H' => two(hour),
            'I' => two((hour + 11) % 12 + 1),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'M' => two(seconds / 60 % 60),
            'S' => two(seconds % 60),
            '%' => "%".to_owned(),
            _ => return None,
        };
    }
    Some(out)
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // 400 years have 146,097 days; the rest is counted out.
    let (mut year, mut rest) = (1970 + days / 146_097 * 400, days % 146_097);
    while rest >= 365 + u64::from(leap(year)) {
        rest -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while rest >= lengths[month] {
        rest -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, rest + 1)
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
            ("{{ map.values() | list }}", "[1]"),
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

    #[test]
    fn dates() {
        assert_eq!(
            strftime("%Y-%m-%d %H:%M:%S %a %%", 0).as_deref(),
            Some("1970-01-01 00:00:00 Thu %")
        );
        assert_eq!(
            strftime("%d %b %Y, %A %B", 1_709_210_096).as_deref(),
            Some("29 Feb 2024, Thursday February")
        );
        let clock = |seconds| strftime("%-d %e %-e %-m/%y %-I:%M %I %p", seconds);
        assert_eq!(clock(0).as_deref(), Some("1  1 1 1/70 12:00 12 AM"));
        assert_eq!(clock(50_700).as_deref(), Some("1  1 1 1/70 2:05 02 PM"));
        for unknown in ["%q", "100%", "%-"] {
            assert_eq!(strftime(unknown, 0), None, "{unknown}");
        }
    }
}
