//! `first run` and `first chat`.

use super::options::{AdapterOptions, ModelOptions, PolicyOptions, SamplingOptions, load_with};
use super::progress::{count_bar, follow, interrupt};
use super::{INTERRUPTED, report};
use crate::engine::{Engine, Event, Policy, Request};
use crate::file::read_line;
use crate::mask::PrefillReading;
use crate::model::chat_template::Message;
use crate::router::policy::TurnPolicy;
use crate::trace::{self, Detail, Run as TraceRun, Sampling};
use anyhow::Context;
use indicatif::ProgressBar;
use std::borrow::Cow;
use std::io::{IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Answer one prompt.
///
/// With the default model come routers and a LoRA adapter, which are used unless `--router`, `--adapter`, `--skip-layers` or
/// `--no-skip` is given; each of these leaves out both.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The prompt; `-` or nothing reads it from standard input.
    prompt: Option<String>,
    /// Give the prompt to the model as it is, without the chat template.
    #[arg(long)]
    raw: bool,
    /// The most tokens of the answer.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Print one JSON object instead: answer, token ids, mask, scores, times.
    #[arg(long)]
    json: bool,
    /// Write a trace with the time of every dispatch (see docs/trace.md).
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How finely the trace is timed; `layer` disturbs less.
    #[arg(long, value_enum, value_name = "DETAIL", default_value_t = Detail::Dispatch, requires = "trace")]
    detail: Detail,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    adapter: AdapterOptions,
    #[command(flatten)]
    policy: PolicyOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
}

impl Run {
    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        let prompt = match self.prompt.as_deref() {
            None | Some("-") => read_prompt()?,
            Some(prompt) => prompt.to_owned(),
        };
        if prompt.trim().is_empty() {
            anyhow::bail!("the prompt is empty; give one, like `first run \"What is a GPU?\"`");
        }
        self.policy.or_shipped(&self.model, &mut self.adapter)?;
        let mut engine = load_with(&self.model, &self.adapter)?;
        let (policy, policy_name) = self.policy.policy(&mut engine)?;
        let ids = engine.prompt_ids(&prompt, !self.raw)?;
        let sampling = self.sampling.sampling();
        warm_up(&mut engine, &policy, &sampling)?;
        let request = Request {
            prompt,
            policy_name,
            sampling,
            detail: match self.trace {
                Some(_) => self.detail,
                None => Detail::None,
            },
            stop_at_end: true,
            ..Request::new(ids, policy, self.max_tokens)
        };
        let interrupted = interrupt()?;
        let mut run = generate(&mut engine, &request, !self.json, &interrupted)?;
        if self.json {
            // One line a token is for trace files.
            let submissions = std::mem::take(&mut run.submissions);
            say!("{}", serde_json::to_string(&run)?);
            run.submissions = submissions;
        } else {
            say!();
            report::print(&run);
        }
        if let Some(path) = &self.trace {
            trace::write(path, std::slice::from_ref(&run))?;
        }
        Ok(if interrupted.load(Ordering::Relaxed) {
            INTERRUPTED.into()
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// The most bytes of a prompt or of what is typed in a chat: more than any context holds.
const LONGEST_TURN: u64 = 1 << 24;

/// The prompt from standard input, without the end of line that `echo` and editors put behind it.
fn read_prompt() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        anyhow::bail!("no prompt; give one, like `first run \"What is a GPU?\"`");
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(LONGEST_TURN + 1)
        .read_to_end(&mut bytes)
        .context("standard input could not be read")?;
    anyhow::ensure!(
        bytes.len() as u64 <= LONGEST_TURN,
        "standard input has more than {LONGEST_TURN} bytes, and no context holds that; give a shorter prompt"
    );
    let text = String::from_utf8(bytes).map_err(|error| {
        anyhow::anyhow!(
            "standard input is not UTF-8 ({}); convert it first",
            error.utf8_error()
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Has the driver compile what an answer needs, so that the times of the first one are those of the next.
fn warm_up(engine: &mut Engine, policy: &Policy, sampling: &Sampling) -> crate::Result<()> {
    let spinner = ProgressBar::new_spinner().with_message("preparing the kernels");
    spinner.enable_steady_tick(Duration::from_millis(200));
    engine.warm_up(policy, sampling)?;
    spinner.finish_and_clear();
    Ok(())
}

/// Generates, streaming the answer to standard output if `show`.
fn generate(
    engine: &mut Engine,
    request: &Request,
    show: bool,
    interrupted: &AtomicBool,
) -> crate::Result<TraceRun> {
    let mut shown = 0;
    let bar = count_bar("reading the prompt");
    let run = engine.generate(request, &mut |event| {
        match event {
            Event::Prefill(done, layers) => {
                return follow(&bar, interrupted, done as u64, layers as u64);
            }
            _ => bar.finish_and_clear(),
        }
        if let (Event::Token(_, text), true) = (event, show) {
            shown += text.len();
            // A closed pipe (`| head`) ends the answer like Ctrl-C does.
            if show_text(text).is_err() {
                return ControlFlow::Break(());
            }
        }
        if interrupted.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if show {
        // A character that was cut short is only known at the end.
        let _ = show_text(&run.answer[shown..]);
    }
    Ok(run)
}

/// Prints a part of an answer. A terminal is not given what it would obey: who knows what a model says.
fn show_text(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let plain = if out.is_terminal() {
        Cow::Owned(harmless(text))
    } else {
        Cow::Borrowed(text)
    };
    out.write_all(plain.as_bytes())?;
    out.flush()
}

/// Text without control characters, but for ends of lines and tabs.
fn harmless(text: &str) -> String {
    let shown = |character: &char| !character.is_control() || matches!(character, '\n' | '\t');
    text.chars().filter(shown).collect()
}

/// Talk, turn by turn.
///
/// With the default model come routers and a LoRA adapter, which are used unless `--router`, `--adapter`, `--skip-layers` or
/// `--no-skip` is given; each of these leaves out both.
#[derive(Debug, clap::Args)]
pub(super) struct Chat {
    /// A system message to begin with.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// What later turns do about the mask: keep it, or decide again. It is kept by default where it is the prompt's too;
    /// where every layer reads the prompt, as with the routers that come with the default model, it is always decided
    /// again.
    #[arg(long, value_enum)]
    turns: Option<TurnPolicy>,
    /// The most tokens of an answer.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 512)]
    max_tokens: usize,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    adapter: AdapterOptions,
    #[command(flatten)]
    policy: PolicyOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
}

impl Chat {
    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        self.policy.or_shipped(&self.model, &mut self.adapter)?;
        let mut engine = load_with(&self.model, &self.adapter)?;
        let mut messages: Vec<Message> = self
            .system
            .iter()
            .map(|text| Message::new("system", text))
            .collect();
        // What no turn could be said with is told before the first.
        engine.chat_ids(&[&messages[..], &[Message::new("user", "hello")]].concat())?;
        let (policy, policy_name) = self.policy.policy(&mut engine)?;
        let turns = match (engine.reading(&policy), self.turns) {
            (PrefillReading::Full, Some(TurnPolicy::Sticky)) => anyhow::bail!(
                "with these routers every layer reads each turn, so that no mask can be kept; leave out `--turns sticky`"
            ),
            (PrefillReading::Full, _) => TurnPolicy::Reroute,
            (PrefillReading::Masked, turns) => turns.unwrap_or_default(),
        };
        warm_up(&mut engine, &policy, &self.sampling.sampling())?;
        let interrupted = interrupt()?;
        tell!(
            "{} on {}. An empty line or Ctrl-D ends.",
            engine.summary.name,
            engine.gpu.summary.name
        );
        let mut first = true;
        loop {
            // Its line goes on with what is typed. Ctrl-C interrupts an answer; here it ends the chat at once.
            interrupted.store(true, Ordering::Relaxed);
            let _ = write!(std::io::stderr(), "\n> ");
            // While the next turn is typed.
            engine.read_ahead(&policy)?;
            let line = read_line(&mut std::io::stdin().lock(), LONGEST_TURN);
            let Some(line) = line.context("standard input could not be read")? else {
                return Ok(ExitCode::SUCCESS);
            };
            let Ok(line) = String::from_utf8(line) else {
                tell!("that is not UTF-8; say it again");
                continue;
            };
            if line.trim().is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            messages.push(Message::new("user", line.trim()));
            let keep = !first && turns == TurnPolicy::Sticky;
            let request = match self.turn(
                &engine,
                &messages,
                if keep { Policy::Sticky } else { policy.clone() },
                &policy_name,
            ) {
                // Too long, say: what was said before is still there.
                Err(error @ crate::Error::Input { .. }) => {
                    tell!("{error}");
                    messages.pop();
                    continue;
                }
                request => request?,
            };
            interrupted.store(false, Ordering::Relaxed);
            let run = match generate(&mut engine, &request, true, &interrupted) {
                Err(crate::Error::Cancelled) => {
                    // What was read is lost: the next turn reads everything.
                    tell!("interrupted");
                    messages.pop();
                    first = true;
                    continue;
                }
                done => done?,
            };
            say!();
            report::print(&run);
            messages.push(Message::new("assistant", &run.answer));
            first = false;
        }
    }

    fn turn(
        &self,
        engine: &Engine,
        messages: &[Message],
        policy: Policy,
        name: &str,
    ) -> crate::Result<Request> {
        Ok(Request {
            prompt: messages
                .last()
                .map(|message| message.content.clone())
                .unwrap_or_default(),
            policy_name: name.to_owned(),
            sampling: self.sampling.sampling(),
            stop_at_end: true,
            keep_prompt: true,
            ..Request::new(engine.chat_ids(messages)?, policy, self.max_tokens)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_told_nothing_to_obey() {
        let text = "a\u{1b}]52;c;eA==\u{7}b\r\n\tc\u{9b}2J\u{85}é";
        assert_eq!(harmless(text), "a]52;c;eA==b\n\tc2Jé");
    }
}
