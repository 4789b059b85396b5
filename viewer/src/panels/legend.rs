//! What colours mean.

use crate::figure::{Figure, area};
use crate::palette::{Palette, heat};
use eframe::egui::{Color32, Pos2, pos2, vec2};

/// Of scores: from 0 to 1.
pub(super) fn scores(figure: &mut Figure, palette: &Palette, at: Pos2) {
    figure.text(at, palette.muted, "score 0");
    for step in 0..20 {
        let left = at.x + 48.0 + 6.0 * step as f32;
        let rect = area(left, at.y - 6.0, 6.0, 12.0);
        figure.cell(rect, heat(step as f32 / 19.0), String::new(), None);
    }
    figure.text(at + vec2(176.0, 0.0), palette.muted, "1");
}

/// Of sublayers, and what else a panel draws of them.
pub(super) fn sublayers(
    figure: &mut Figure,
    palette: &Palette,
    at: Pos2,
    other: Option<(Color32, &str)>,
) {
    let own = [
        (palette.accent, "attention"),
        (palette.second, "MLP"),
        (palette.skipped, "skipped"),
    ];
    let mut x = at.x;
    for (color, name) in own.into_iter().chain(other) {
        figure.cell(area(x, at.y - 6.0, 12.0, 12.0), color, String::new(), None);
        figure.text(pos2(x + 18.0, at.y), palette.muted, name);
        x += 18.0 + 6.5 * name.len() as f32 + 16.0;
    }
}
