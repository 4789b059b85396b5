//! What colours mean.

use crate::figure::{Figure, area};
use crate::palette::{Palette, heat};
use eframe::egui::{Color32, Pos2, pos2, vec2};

/// The width of the scale of scores.
const SCORES: f32 = 120.0;

/// Of scores: from 0 to 1, and the threshold, if all routers have the same.
pub(super) fn scores(figure: &mut Figure, palette: &Palette, at: Pos2, threshold: Option<f32>) {
    const STEPS: usize = 20;
    figure.text(at, palette.muted, "score 0");
    let left = at.x + 48.0;
    let width = SCORES / STEPS as f32;
    for step in 0..STEPS {
        let rect = area(left + width * step as f32, at.y - 6.0, width, 12.0);
        let value = step as f32 / (STEPS - 1) as f32;
        figure.cell(rect, heat(value), String::new(), None);
    }
    let mut end = "1".to_owned();
    if let Some(threshold) = threshold {
        let x = left + SCORES * threshold.clamp(0.0, 1.0);
        let mark = vec![pos2(x, at.y - 9.0), pos2(x, at.y + 9.0)];
        figure.line(mark, palette.text, 1.5);
        end += &format!("; skipped below {threshold:.3}");
    }
    figure.text(at + vec2(SCORES + 56.0, 0.0), palette.muted, end);
}

/// Names beside boxes of their colours.
pub(super) fn named<'a>(
    figure: &mut Figure,
    palette: &Palette,
    at: Pos2,
    names: impl IntoIterator<Item = (Color32, &'a str)>,
) {
    let mut x = at.x;
    for (color, name) in names {
        figure.cell(area(x, at.y - 6.0, 12.0, 12.0), color, String::new(), None);
        figure.text(pos2(x + 18.0, at.y), palette.muted, name);
        x += step(name);
    }
}

/// From a name to the next.
fn step(name: &str) -> f32 {
    18.0 + 6.5 * name.len() as f32 + 16.0
}

/// How wide [`named`] is.
pub(super) fn width(names: &[(Color32, &str)]) -> f32 {
    names.iter().map(|(_, name)| step(name)).sum()
}

/// Of sublayers.
pub(super) fn sublayers(palette: &Palette) -> [(Color32, &'static str); 3] {
    [
        (palette.accent, "attention"),
        (palette.second, "MLP"),
        (palette.skipped, "skipped"),
    ]
}
