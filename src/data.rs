//! Examples to calibrate and train on: JSON lines with `prompt` and `completion`, or with `messages` whose
//! last is the assistant's; `task` groups them.

use crate::engine::Engine;
use crate::error::{Error, Result, quote};
use crate::file::read_line;
use crate::model::chat_template::Message;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// The longest line of a file: far more than any model reads.
const MOST_BYTES: u64 = 64 << 20;

/// One example.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What kind of prompt it is.
    pub task: Option<String>,
    /// The conversation up to the answer.
    pub messages: Vec<Message>,
    /// The answer.
    pub completion: String,
}

/// An example as token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// Prompt, answer and the end of turn.
    pub ids: Vec<u32>,
    /// Index of the first token of the answer.
    pub answer: usize,
}

#[derive(Deserialize)]
struct Line {
    task: Option<String>,
    prompt: Option<String>,
    completion: Option<String>,
    #[serde(default)]
    messages: Vec<LineMessage>,
}

#[derive(Deserialize)]
struct LineMessage {
    role: String,
    content: String,
}

impl Line {
    fn example(self) -> Result<Example, &'static str> {
        let task = self.task;
        if task
            .as_deref()
            .is_some_and(|task| task.contains(char::is_control))
        {
            return Err("expected a `task` without control characters");
        }
        let mut messages: Vec<_> = self
            .messages
            .into_iter()
            .map(|message| Message::new(message.role, message.content))
            .collect();
        match (self.prompt, self.completion, messages.pop()) {
            (Some(prompt), Some(completion), None) => Ok(Example {
                task,
                messages: vec![Message::new("user", prompt)],
                completion,
            }),
            (None, None, Some(last)) if last.role == "assistant" && !messages.is_empty() => {
                Ok(Example {
                    task,
                    messages,
                    completion: last.content,
                })
            }
            _ => Err(
                "expected `prompt` and `completion`, or `messages` that end with the assistant's",
            ),
        }
    }
}

/// Reads a file; a line that is not an example is an error that names it.
pub fn read(path: &Path) -> Result<Vec<Example>> {
    read_with(path, &mut Err)
}

/// Reads a file; `bad` hears of each line that is not an example, and stops or leaves it out.
pub fn read_with(path: &Path, bad: &mut dyn FnMut(Error) -> Result<()>) -> Result<Vec<Example>> {
    let file = std::fs::File::open(path).map_err(|error| Error::read(path, error))?;
    let mut examples = Vec::new();
    let mut file = std::io::BufReader::new(file);
    for index in 0.. {
        let line = read_line(&mut file, MOST_BYTES).map_err(|error| Error::read(path, error))?;
        let Some(line) = line else { break };
        // Some editors begin a file with a byte order mark.
        let line = match line.strip_prefix("\u{feff}".as_bytes()) {
            Some(rest) if index == 0 => rest,
            _ => &line,
        };
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed = serde_json::from_slice::<Line>(line).map_err(|error| error.to_string());
        let example = parsed.and_then(|line| line.example().map_err(str::to_owned));
        match example {
            Ok(example) => examples.push(example),
            Err(what) => bad(Error::file(
                path,
                format!("line {}: {what}", index + 1),
                "correct the line or take it out",
            ))?,
        }
    }
    if examples.is_empty() {
        return Err(Error::file(
            path,
            "holds no examples",
            "give JSON lines with `prompt` and `completion`",
        ));
    }
    Ok(examples)
}

/// Refuses examples that are searched on, or looked at, and trained on or reported on as well, whatever task they are said
/// to be of.
pub fn must_be_others(examples: &[Example], calibration: &[Example]) -> Result<()> {
    let texts: HashSet<_> = examples.iter().map(Example::text).collect();
    let seen = |one: &&Example| texts.contains(&one.text());
    let Some(both) = calibration.iter().find(seen) else {
        return Ok(());
    };
    let of_task = both.task.as_ref();
    let of_task = of_task.map_or_else(String::new, |task| format!(" of task {}", quote(task)));
    let start: String = both.completion.chars().take(40).collect();
    Err(Error::input(
        format!("an example{of_task} is in `--data` and in `--calibration`: {start:?}"),
        "give others with `--calibration`, since what was seen tells nothing of what is new",
    ))
}

/// What tables call a task: examples without one share a task of no name.
pub fn task_name(task: &str) -> &str {
    match task {
        "" => "all",
        named => named,
    }
}

/// How many examples say what one before them has said.
pub fn repeated(examples: &[Example]) -> usize {
    let texts: HashSet<_> = examples.iter().map(Example::text).collect();
    examples.len() - texts.len()
}

/// Examples by task; those without one share a task of no name.
pub fn by_task(examples: &[Example]) -> BTreeMap<String, Vec<&Example>> {
    let mut tasks: BTreeMap<String, Vec<&Example>> = BTreeMap::new();
    for example in examples {
        let task = example.task.clone().unwrap_or_default();
        tasks.entry(task).or_default().push(example);
    }
    tasks
}

/// Up to `count` examples of each task, spread evenly.
pub fn of_each_task(examples: &[Example], count: usize) -> Vec<Example> {
    let tasks = by_task(examples);
    let chosen = tasks.values().flat_map(|own| spread(own, count));
    chosen.map(|example| (*example).clone()).collect()
}

/// Up to `count` of some examples, spread evenly.
pub fn spread<T>(examples: &[T], count: usize) -> impl Iterator<Item = &T> {
    let count = count.min(examples.len());
    (0..count).map(move |index| &examples[index * examples.len() / count])
}

impl Tokens {
    /// The tokens before the answer.
    pub fn prompt(&self) -> &[u32] {
        &self.ids[..self.answer]
    }

    /// Whether its end was cut off.
    pub fn is_cut(&self, engine: &Engine) -> bool {
        let end = engine.answer_end();
        end.is_some() && self.ids.last().copied() != end
    }

    /// What tells it from others.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = bytemuck::cast_slice(&self.ids).to_vec();
        bytes.extend((self.answer as u64).to_le_bytes());
        bytes
    }
}

impl Example {
    /// All of it but what it is said to be.
    fn text(&self) -> (&[Message], &str) {
        (&self.messages, &self.completion)
    }

    /// The example through the model's chat template, cut to `most` tokens.
    pub fn tokens(&self, engine: &Engine, most: usize) -> Result<Tokens> {
        let most = most.min(engine.model.config.context);
        self.cut(self.whole(engine)?, most)
    }

    /// The start of the prompt's last turn, by which to find the example.
    fn start(&self) -> String {
        let last = self.messages.last().map_or("", |message| &message.content);
        last.chars().take(60).collect()
    }

    /// The example through the model's chat template, however long.
    pub(crate) fn whole(&self, engine: &Engine) -> Result<Tokens> {
        let start = self.start();
        // Which of thousands it is, and what can be done about an example.
        let named = |error| match error {
            Error::Input { message, .. } => Error::input(
                format!("{message}: {start:?}"),
                "take it out, raise `--context` as far as the model goes, or give a model with a chat template",
            ),
            other => other,
        };
        let mut ids = engine.chat_ids(&self.messages).map_err(named)?;
        let answer = ids.len();
        ids.extend(engine.tokenizer.encode_continuation(&self.completion)?);
        ids.extend(engine.answer_end());
        Ok(Tokens { ids, answer })
    }

    /// Its tokens, cut to `most`.
    pub(crate) fn cut(&self, mut text: Tokens, most: usize) -> Result<Tokens> {
        text.ids.truncate(most);
        if text.ids.len() <= text.answer {
            return Err(Error::input(
                format!(
                    "a prompt of {} tokens leaves no room for its answer: {:?}",
                    text.answer,
                    self.start()
                ),
                "allow longer examples with `--tokens N`, or take it out",
            ));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: impl AsRef<[u8]>) -> Result<Vec<Example>> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("writable");
        read(file.path())
    }

    #[test]
    fn both_layouts_are_read() {
        let pair = r#"{"task": "t", "prompt": "p", "completion": "c"}"#;
        let turns = r#"{"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]}"#;
        // Behind a byte order mark.
        let examples = lines(format!("\u{feff}{pair}\n\n{turns}\n")).expect("valid");
        assert_eq!(examples[0].messages, examples[1].messages);
        assert_eq!(
            (examples[0].task.as_deref(), examples[1].completion.as_str()),
            (Some("t"), "c")
        );
    }

    #[test]
    fn examples_that_repeat_others_are_counted() {
        let pair = |task: &str, prompt: &str| {
            format!("{{\"task\": \"{task}\", \"prompt\": \"{prompt}\", \"completion\": \"c\"}}\n")
        };
        let texts = [
            pair("a", "p"),
            pair("a", "q"),
            pair("b", "p"),
            pair("a", "p"),
        ];
        assert_eq!(repeated(&lines(texts.concat()).expect("valid")), 2);
    }

    fn example(task: usize, prompt: usize) -> Example {
        Example {
            task: Some(task.to_string()),
            messages: vec![Message::new("user", prompt.to_string())],
            completion: "c".to_owned(),
        }
    }

    #[test]
    fn tasks_that_take_turns_in_a_file_are_all_chosen() {
        let examples: Vec<_> = (0..12).map(|index| example(index % 3, index)).collect();
        let chosen = of_each_task(&examples, 2);
        let tasks: Vec<_> = chosen.iter().map(|one| one.task.as_deref()).collect();
        assert_eq!(tasks, ["0", "0", "1", "1", "2", "2"].map(Some));
        assert_eq!([&chosen[0], &chosen[1]], [&examples[0], &examples[6]]);
    }

    #[test]
    fn an_example_is_the_same_whatever_its_task() {
        let examples = [example(0, 1), example(0, 2)];
        must_be_others(&examples, &[example(0, 3)]).expect("another prompt");
        must_be_others(&examples, &[example(1, 2)]).expect_err("another task");
    }

    #[test]
    #[cfg(unix)]
    fn what_has_no_end_is_no_data() {
        let error = read(Path::new("/dev/zero")).expect_err("one endless line");
        assert!(error.to_string().contains("longer than 64 MiB"), "{error}");
    }

    #[test]
    fn bad_lines_are_named() {
        for bad in [
            "{",
            r#"{"prompt": "p"}"#,
            r#"{"task": "\u001b[2J", "prompt": "p", "completion": "c"}"#,
            r#"{"messages": []}"#,
            r#"{"messages": [{"role": "user", "content": "p"}]}"#,
        ] {
            let error = lines(format!(
                "{{\"prompt\": \"p\", \"completion\": \"c\"}}\n{bad}\n"
            ))
            .expect_err(bad);
            assert!(error.to_string().contains("line 2"), "{error}");
        }
        assert!(lines("").is_err());
    }

    #[test]
    fn bad_lines_are_left_out_even_where_they_are_not_text() {
        let good: &[u8] = br#"{"prompt": "p", "completion": "c"}"#;
        let text = [good, b"\n\xff\n", good, b"\r\n"].concat();
        let error = lines(&text).expect_err("line 2").to_string();
        assert!(error.contains("line 2"), "{error}");
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("writable");
        let mut left_out = 0;
        let examples = read_with(file.path(), &mut |_| {
            left_out += 1;
            Ok(())
        });
        assert_eq!((examples.expect("the others").len(), left_out), (2, 1));
    }
}
