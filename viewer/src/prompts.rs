//! Prompt sets: JSON lines, CSV or text. `docs/prompt-set.md` describes them.

use crate::read::read_text;
use first_wgpu::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// A set is read at once; one that is longer than this is none.
const MOST_BYTES: u64 = 64 << 20;

/// What to do about a file that is no set.
const REMEDY: &str = "see docs/prompt-set.md for the formats";

/// A prompt of a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// What it says.
    pub text: String,
    /// What kind it is.
    pub tag: Option<String>,
    /// A good answer, to measure quality with.
    pub completion: Option<String>,
}

/// A line of JSON.
#[derive(Deserialize)]
struct Line {
    prompt: String,
    tag: Option<String>,
    task: Option<String>,
    completion: Option<String>,
}

impl From<Line> for Prompt {
    fn from(line: Line) -> Self {
        Self {
            text: line.prompt,
            tag: line.tag.or(line.task),
            completion: line.completion,
        }
    }
}

/// Prompts of different kinds, to begin with: button, tag, text.
pub const EXAMPLES: [(&str, &str, &str); 3] = [
    (
        "a question",
        "question",
        "When did the theatre open? Answer from the passage.\n\
         Passage: The theatre of the city burned down twice. It was then built of marble, opened in 1867, and has had \
         electric light since 1890.",
    ),
    (
        "a summary",
        "summary",
        "Summarize this abstract in one sentence: Bees find their way home by the sun and by landmarks. We followed \
         two hundred bees with small radio tags and found that young bees learn landmarks first, within three days, \
         and use the sun only later.",
    ),
    (
        "code",
        "code",
        "Write a Python function to find the largest number of a list. Your code should pass this test: assert \
         largest([3, 9, 2]) == 9",
    ),
];

/// The examples as a set.
pub fn examples() -> Vec<Prompt> {
    let prompt = |(_, tag, text): (&str, &str, &str)| Prompt {
        text: text.to_owned(),
        tag: Some(tag.to_owned()),
        completion: None,
    };
    EXAMPLES.map(prompt).to_vec()
}

/// Reads a set; the name's ending says how: `.jsonl`, `.csv`, anything else is text.
pub fn load(path: &Path) -> Result<Vec<Prompt>> {
    let text = read_text(path, MOST_BYTES, REMEDY)?;
    // Spreadsheets and Windows' editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let ending = path.extension().and_then(|ending| ending.to_str());
    let ending = ending.map(str::to_ascii_lowercase);
    let prompts = match ending.as_deref() {
        Some("jsonl") => json_lines(text),
        Some("csv") => csv(text),
        _ => Ok(lines(text)),
    };
    let prompts = prompts.and_then(|prompts| {
        if prompts.is_empty() {
            Err("holds no prompts".to_owned())
        } else {
            Ok(prompts)
        }
    });
    prompts.map_err(|what| Error::file(path, what, REMEDY))
}

fn json_lines(text: &str) -> Result<Vec<Prompt>, String> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let parse = |(index, line): (usize, &str)| {
        let line = serde_json::from_str::<Line>(line);
        line.map(Prompt::from)
            .map_err(|error| format!("line {}: {error}", index + 1))
    };
    lines.map(parse).collect()
}

/// One prompt a line; `# tag` gives the lines below it their tag.
fn lines(text: &str) -> Vec<Prompt> {
    let mut tag = None;
    let mut prompts = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix('#') {
            Some(name) => tag = Some(name.trim().to_owned()).filter(|name| !name.is_empty()),
            None => prompts.push(Prompt {
                text: line.to_owned(),
                tag: tag.clone(),
                completion: None,
            }),
        }
    }
    prompts
}

/// A first row that names its columns, among them `prompt`; then a prompt a row.
fn csv(text: &str) -> Result<Vec<Prompt>, String> {
    let mut rows = records(text)?.into_iter();
    let names = rows.next().unwrap_or_default();
    let column = |wanted: &str| {
        let same = |name: &String| name.trim().to_lowercase() == wanted;
        names.iter().position(same)
    };
    let place = column("prompt").ok_or("expected a first row with a column `prompt`")?;
    let tag = column("tag").or_else(|| column("task"));
    let completion = column("completion");
    let prompt = |row: Vec<String>| {
        let cell = |column: Option<usize>| column.and_then(|column| row.get(column)).cloned();
        Prompt {
            text: cell(Some(place)).unwrap_or_default(),
            tag: cell(tag).filter(|tag| !tag.is_empty()),
            completion: cell(completion).filter(|completion| !completion.is_empty()),
        }
    };
    let prompts = rows.map(prompt);
    Ok(prompts.filter(|prompt| !prompt.text.is_empty()).collect())
}

/// The rows of a CSV file (RFC 4180).
fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rows = Vec::new();
    let (mut row, mut cell) = (Vec::new(), String::new());
    let mut quoted = false;
    let mut symbols = text.chars().peekable();
    while let Some(symbol) = symbols.next() {
        match symbol {
            '"' if quoted && symbols.peek() == Some(&'"') => {
                symbols.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted && symbols.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            _ => cell.push(symbol),
        }
    }
    if quoted {
        return Err(format!("row {}: a quote is not closed", rows.len() + 1));
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<Prompt>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        load(&path)
    }

    #[test]
    fn three_formats_say_the_same() {
        let json = read(
            "set.jsonl",
            "{\"prompt\": \"a, \\\"b\\\"\", \"task\": \"x\"}\n\n{\"prompt\": \"c\", \"tag\": \"x\"}\n",
        );
        let csv = read("set.csv", "tag,prompt\r\nx,\"a, \"\"b\"\"\"\r\nx,c\r\n");
        let loud = read("SET.CSV", "tag,prompt\nx,\"a, \"\"b\"\"\"\nx,c\n");
        let text = read("set.txt", "# x\na, \"b\"\n\nc\n");
        let expected = json.expect("JSON lines");
        assert_eq!(expected.len(), 2);
        assert_eq!(expected[0].tag.as_deref(), Some("x"));
        assert_eq!(csv.expect("CSV"), expected);
        assert_eq!(loud.expect("CSV too"), expected);
        assert_eq!(text.expect("text"), expected);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        for (name, text) in [
            ("a.jsonl", "\u{feff}{\"prompt\": \"p\", \"tag\": \"x\"}\n"),
            ("a.csv", "\u{feff}prompt,tag\np,x\n"),
            ("a.txt", "\u{feff}# x\np\n"),
        ] {
            let prompts = read(name, text).expect(name);
            assert_eq!(prompts[0].text, "p", "{name}");
            assert_eq!(prompts[0].tag.as_deref(), Some("x"), "{name}");
        }
    }

    #[test]
    fn a_tag_wins_over_a_task() {
        for (name, text) in [
            (
                "a.jsonl",
                "{\"task\": \"y\", \"prompt\": \"p\", \"tag\": \"x\"}\n",
            ),
            ("a.csv", "task,prompt,tag\ny,p,x\n"),
        ] {
            let prompts = read(name, text).expect(name);
            assert_eq!(prompts[0].tag.as_deref(), Some("x"), "{name}");
        }
    }

    #[test]
    fn bad_sets_are_refused_with_a_remedy() {
        for (name, text, needle) in [
            ("a.jsonl", "{\"prompt\": \"p\"}\n{}\n", "line 2"),
            ("a.csv", "question\nWhy?\n", "column `prompt`"),
            ("a.csv", "prompt\n\"Why?\n", "row 2"),
            ("a.txt", "# only a tag\n", "holds no prompts"),
        ] {
            let error = read(name, text).expect_err(needle).to_string();
            assert!(error.contains(needle) && error.contains("docs/"), "{error}");
        }
        assert!(load(Path::new("nowhere.csv")).is_err());
    }

    #[test]
    fn what_is_no_file_is_no_set() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = load(folder.path()).expect_err("refused");
        assert!(error.to_string().contains("expected a file"), "{error}");
    }
}
