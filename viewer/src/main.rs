//! `first-viewer`: a window on runs, or their pictures without a window.

use anyhow::Context;
use clap::Parser;
use eframe::egui;
use first_viewer::app::App;
use first_viewer::palette::Palette;
use first_viewer::panels::{PANELS, View};
use first_viewer::session::Session;
use first_viewer::worker::Setup;
use first_wgpu::file::write_whole;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Shows which layers each prompt wakes, and what each dispatch costs.
#[derive(Debug, Parser)]
#[command(name = "first-viewer", version)]
struct Arguments {
    /// A saved session, or a trace of `first run --trace`.
    session: Option<PathBuf>,
    /// A GGUF file; without it, SmolLM2-135M-Instruct, fetched on first use.
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// A router folder.
    #[arg(long, value_name = "DIR")]
    router: Option<PathBuf>,
    /// Adapter by index or part of its name (see `first devices`).
    #[arg(long, value_name = "ADAPTER")]
    device: Option<String>,
    /// Only look: load no model.
    #[arg(long)]
    no_model: bool,
    /// Run a prompt, print how long frames took meanwhile, and close.
    #[arg(long, conflicts_with = "no_model")]
    measure_frames: bool,
    /// Write a panel to a file ending in svg, csv or json, and open no window.
    #[arg(long, value_name = "FILE", requires = "session")]
    export: Option<PathBuf>,
    /// The panel to open, or to write.
    #[arg(long, value_name = "NAME", default_value = "layers", value_parser = PANELS.map(|panel| panel.name))]
    panel: String,
    /// The run to write a panel of, counted from 1; the last by default.
    #[arg(long, value_name = "N")]
    run: Option<usize>,
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
    let session = match &arguments.session {
        Some(path) => Session::load(path)?,
        None => Session::default(),
    };
    if let Some(path) = &arguments.export {
        return export(&session, &arguments, path);
    }
    let setup = (!arguments.no_model).then(|| Setup {
        model: arguments.model.clone(),
        router: arguments.router.clone(),
        device: arguments.device.clone(),
    });
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default().with_inner_size([1240.0, 800.0]),
        ..Default::default()
    };
    let create: eframe::AppCreator<'_> = Box::new(|context| {
        let mut app = App::new(&context.egui_ctx, session, setup);
        app.open_panel(&arguments.panel);
        if arguments.measure_frames {
            app.measure_frames();
        }
        Ok(Box::new(app))
    });
    eframe::run_native("first-wgpu", options, create).map_err(|error| {
        anyhow::anyhow!("no window could be opened ({error}); on a machine without a display use `--export FILE`")
    })
}

fn export(session: &Session, arguments: &Arguments, path: &Path) -> anyhow::Result<()> {
    let count = session.runs.len();
    let selected = arguments.run.unwrap_or(count);
    anyhow::ensure!(
        (1..=count).contains(&selected),
        "run {selected} of a session of {count} runs; give `--run` from 1 to {count}"
    );
    let panel = PANELS.iter().find(|panel| panel.name == arguments.panel);
    let panel = panel.context("the command line knows the panels' names")?;
    let view = View {
        runs: &session.runs,
        selected: selected - 1,
        other: 0,
        forces: &[],
        width: 1000.0,
        palette: Palette::LIGHT,
    };
    let text = match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => (panel.figure)(&view).svg(&view.palette),
        Some("csv") => (panel.table)(&view).csv(),
        Some("json") => (panel.table)(&view).json(),
        _ => anyhow::bail!(
            "{}: expected a name that ends in .svg, .csv or .json; rename it",
            path.display()
        ),
    };
    Ok(write_whole(path, |file| file.write_all(text.as_bytes()))?)
}
