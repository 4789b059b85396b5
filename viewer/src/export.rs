//! Panels as files.

use crate::panels::{Panel, View};
use crate::session::is_session;
use first_wgpu::file::write_whole;
use first_wgpu::{Error, Result};
use std::path::Path;

/// Writes a panel, over anything but a session; the name's ending says as what.
pub fn export(panel: &Panel, view: &View<'_>, path: &Path) -> Result<()> {
    if is_session(path) {
        let found = "there is a session";
        return Err(Error::file(path, found, "give another name to export to"));
    }
    let ending = path.extension().and_then(|ending| ending.to_str());
    let bytes = match ending {
        Some("png") => (panel.figure)(view).png(&view.palette)?,
        Some("svg") => (panel.figure)(view).svg(&view.palette).into_bytes(),
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
