//! Panels as files.

use crate::panels::{Panel, View, policy_name};
use crate::session::is_session;
use crate::width::short;
use first_wgpu::file::write_whole;
use first_wgpu::trace::Run;
use first_wgpu::{Error, Result};
use std::path::Path;

/// Writes a panel, over anything but a session; the name's ending says as what.
pub fn export(panel: &Panel, view: &View<'_>, path: &Path) -> Result<()> {
    if is_session(path) {
        let found = "there is a session";
        return Err(Error::file(path, found, "give another name to export to"));
    }
    let figure = || {
        let figure = (panel.figure)(view);
        match view.run().filter(|_| panel.of_a_run) {
            Some(run) => figure.captioned(&view.palette, caption(view.state.selected, run)),
            None => figure,
        }
    };
    let ending = path.extension().and_then(|ending| ending.to_str());
    let ending = ending.map(str::to_ascii_lowercase);
    let bytes = match ending.as_deref() {
        Some("png") => figure().png(&view.palette)?,
        Some("svg") => figure().svg(&view.palette).into_bytes(),
        Some("csv") => (panel.table)(view).csv().into_bytes(),
        Some("json") => (panel.table)(view).json().into_bytes(),
        _ => {
            return Err(Error::input(
                format!(
                    "{}: expected a name that ends in .png, .svg, .csv or .json",
                    path.display()
                ),
                "rename it",
            ));
        }
    };
    write_whole(path, |file| file.write_all(&bytes))
}

/// What a figure is of: in the window that stands around it.
fn caption(index: usize, run: &Run) -> String {
    let mut parts = vec![
        format!("Run {}: {}", index + 1, short(&run.prompt, 40)),
        short(policy_name(run), 40),
        run.model.name.clone(),
        run.gpu.name.clone(),
    ];
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}
