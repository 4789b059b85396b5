//! `first-viewer`: a window on runs, or their pictures without a window.

use anyhow::Context;
use clap::Parser;
use clap::builder::RangedU64ValueParser;
use eframe::egui;
use first_viewer::app::App;
use first_viewer::export::export;
use first_viewer::palette::Palette;
use first_viewer::panels::{PANELS, State, View};
use first_viewer::session::Session;
use first_viewer::worker::Setup;
use first_wgpu::{pull, shipped};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Shows which layers each prompt wakes, and what each dispatch costs.
#[derive(Debug, Parser)]
#[command(name = "first-viewer", version)]
struct Arguments {
    /// A saved session, a trace of `first run --trace`, or a training log.
    session: Option<PathBuf>,
    /// A GGUF file; without it, SmolLM2-135M-Instruct, fetched on first use.
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// A router folder; without it and `--adapter`, those that come with the default model.
    #[arg(long, value_name = "DIR")]
    router: Option<PathBuf>,
    /// A LoRA adapter: a folder in PEFT's format.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The GPU, by index, or part of its name or backend (see `first devices`).
    #[arg(long, value_name = "GPU")]
    device: Option<String>,
    /// The longest conversation in tokens, as `first run --context` has it.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    context: Option<usize>,
    /// The plain model, without the routers and LoRA that come with the default one.
    #[arg(long, conflicts_with_all = ["router", "adapter"])]
    no_skip: bool,
    /// Only look: load no model.
    #[arg(long)]
    no_model: bool,
    /// Run the prompt until hundreds of frames were drawn meanwhile, print how long they took, and close.
    #[arg(long, conflicts_with = "no_model")]
    measure_frames: bool,
    /// Write a panel to a file ending in png, svg, csv or json, and open no window.
    #[arg(long, value_name = "FILE", requires = "session")]
    export: Option<PathBuf>,
    /// The panel to open, or to write; by default the one that the exported file is named after.
    #[arg(long, value_name = "NAME", value_parser = PANELS.map(|panel| panel.name))]
    panel: Option<String>,
    /// The run to look at, counted from 1; the last by default.
    #[arg(long, value_name = "N", requires = "session")]
    run: Option<usize>,
    /// The run to compare it with; the first other of the full model by default.
    #[arg(long, value_name = "N", requires = "session")]
    other: Option<usize>,
    /// Write light on dark.
    #[arg(long, requires = "export")]
    dark: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (session, kind) = match &arguments.session {
        Some(path) => {
            let (session, kind) = Session::load_as(path)?;
            (session, Some(kind))
        }
        None => (Session::default(), None),
    };
    if let Some(path) = &arguments.export {
        return write(&session, &arguments, path);
    }
    let (selected, other) = runs(&session, &arguments)?;
    let setup = if arguments.no_model {
        None
    } else {
        Some(setup(&arguments)?)
    };
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default().with_inner_size([1240.0, 800.0]),
        // Nothing here has gradients; on a software adapter it costs milliseconds a frame.
        dithering: false,
        ..Default::default()
    };
    let create: eframe::AppCreator<'_> = Box::new(|context| {
        let mut app = App::new(&context.egui_ctx, session, setup);
        if let (Some(path), Some(kind)) = (&arguments.session, kind) {
            app.came_from(path, kind);
        }
        if let Some(panel) = &arguments.panel {
            app.open_panel(panel);
        }
        app.select(selected, other);
        if arguments.measure_frames {
            app.measure_frames();
        }
        Ok(Box::new(app))
    });
    eframe::run_native("first-wgpu", options, create).map_err(|error| {
        anyhow::anyhow!("no window could be opened ({error}); on a machine without a display use `--export FILE`")
    })
}

/// What to load: what came with the program for the default model, unless something else is asked for.
fn setup(arguments: &Arguments) -> anyhow::Result<Setup> {
    let mut setup = Setup {
        model: arguments.model.clone(),
        router: arguments.router.clone(),
        adapter: arguments.adapter.clone(),
        device: arguments.device.clone(),
        context: arguments.context,
        cache: pull::cache_folder().ok(),
    };
    if setup.router.is_none() && setup.adapter.is_none() && !arguments.no_skip {
        let shipped = shipped::for_model(setup.model.as_deref())?;
        (setup.router, setup.adapter) = (shipped.router, shipped.adapter);
    }
    Ok(setup)
}

/// Which run is looked at, and which it is compared with.
fn runs(session: &Session, arguments: &Arguments) -> anyhow::Result<(usize, usize)> {
    let count = session.runs.len();
    let place = |run: Option<usize>, default: usize| match run {
        None => Ok(default),
        Some(run) if (1..=count).contains(&run) => Ok(run - 1),
        Some(run) => Err(anyhow::anyhow!(
            "run {run} of a session of {count} runs; count runs from 1"
        )),
    };
    let run = place(arguments.run, count.saturating_sub(1))?;
    Ok((run, place(arguments.other, session.other_run(run))?))
}

fn write(session: &Session, arguments: &Arguments, path: &Path) -> anyhow::Result<()> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let named = |name: Option<&str>| PANELS.iter().find(|panel| Some(panel.name) == name);
    let panel = named(arguments.panel.as_deref()).or_else(|| named(stem));
    let panel = panel.with_context(|| {
        let names = PANELS.map(|panel| panel.name).join(", ");
        format!(
            "{}: which panel? give `--panel` one of {names}",
            path.display()
        )
    })?;
    let (run, other) = runs(session, arguments)?;
    let mut state = State::default();
    state.select(run);
    state.other = other;
    let view = View::exported(session, &state, Palette::of(arguments.dark));
    Ok(export(panel, &view, path)?)
}
