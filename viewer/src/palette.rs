//! Colours. One accent; everything that carries a value is told apart by lightness as well as by hue, so
//! that it reads with any colour vision and in grey print.

use eframe::egui::{self, Color32, CornerRadius, Stroke, Visuals};

/// How many series have a colour of their own.
pub const SERIES: usize = 5;

/// The colours of one theme.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Palette {
    /// Whether light is drawn on dark.
    pub dark: bool,
    /// Behind everything.
    pub background: Color32,
    /// Behind cards and fields.
    pub surface: Color32,
    /// Text.
    pub text: Color32,
    /// Text that explains.
    pub muted: Color32,
    /// Lines of tables and axes.
    pub line: Color32,
    /// The one accent: attention, and what can be pressed.
    pub accent: Color32,
    /// The second series: MLP.
    pub second: Color32,
    /// A sublayer that does not run.
    pub skipped: Color32,
    /// Graphics that have no colour of their own: kernels that cost little.
    pub minor: Color32,
    /// Something the user forced, and warnings.
    pub warning: Color32,
}

impl Palette {
    /// Dark on light.
    pub const LIGHT: Self = Self {
        dark: false,
        background: Color32::from_rgb(0xfb, 0xfb, 0xfa),
        surface: Color32::from_rgb(0xf1, 0xf2, 0xf3),
        text: Color32::from_rgb(0x1d, 0x23, 0x2b),
        muted: Color32::from_rgb(0x5f, 0x68, 0x73),
        line: Color32::from_rgb(0xd8, 0xdb, 0xdf),
        accent: Color32::from_rgb(0x1c, 0x5c, 0xa0),
        second: Color32::from_rgb(0x4a, 0x90, 0xcc),
        skipped: Color32::from_rgb(0xe6, 0xe7, 0xe9),
        minor: Color32::from_rgb(0x8a, 0x90, 0x97),
        warning: Color32::from_rgb(0xb6, 0x53, 0x00),
    };

    /// Light on dark.
    pub const DARK: Self = Self {
        dark: true,
        background: Color32::from_rgb(0x14, 0x17, 0x1c),
        surface: Color32::from_rgb(0x1e, 0x23, 0x2a),
        text: Color32::from_rgb(0xe6, 0xe9, 0xed),
        muted: Color32::from_rgb(0x98, 0xa2, 0xae),
        line: Color32::from_rgb(0x33, 0x3a, 0x44),
        accent: Color32::from_rgb(0x5a, 0xa9, 0xee),
        second: Color32::from_rgb(0x3d, 0x7e, 0xb6),
        skipped: Color32::from_rgb(0x2a, 0x30, 0x38),
        minor: Color32::from_rgb(0x86, 0x90, 0x9c),
        warning: Color32::from_rgb(0xf2, 0x9d, 0x49),
    };

    /// The palette of a theme.
    pub fn of(dark: bool) -> Self {
        if dark { Self::DARK } else { Self::LIGHT }
    }

    /// The palette that fits what `ui` draws with.
    pub fn from_ui(ui: &egui::Ui) -> Self {
        Self::of(ui.visuals().dark_mode)
    }

    /// The colours of up to five series, told apart by lightness too. Warnings have theirs to themselves.
    pub fn series(&self, index: usize) -> Color32 {
        let (gold, brown) = if self.dark {
            ([0xe9, 0xbe, 0x52], [0x94, 0x53, 0x40])
        } else {
            ([0x98, 0x6c, 0x12], [0x72, 0x2f, 0x22])
        };
        let [gold, brown] = [gold, brown].map(|[r, g, b]| Color32::from_rgb(r, g, b));
        [self.accent, gold, self.second, self.text, brown][index % SERIES]
    }

    /// The theme of egui's own widgets.
    pub fn visuals(&self) -> Visuals {
        let mut visuals = if self.dark {
            Visuals::dark()
        } else {
            Visuals::light()
        };
        visuals.override_text_color = Some(self.text);
        visuals.panel_fill = self.background;
        visuals.window_fill = self.background;
        visuals.extreme_bg_color = self.surface;
        visuals.faint_bg_color = self.surface;
        visuals.hyperlink_color = self.accent;
        visuals.window_stroke = Stroke::new(1.0, self.line);
        visuals.selection.bg_fill = self
            .accent
            .gamma_multiply(if self.dark { 0.45 } else { 0.22 });
        visuals.selection.stroke = Stroke::new(1.5, self.accent);
        let widgets = &mut visuals.widgets;
        for (widget, fill) in [
            (&mut widgets.noninteractive, self.background),
            (&mut widgets.inactive, self.surface),
            (&mut widgets.hovered, self.skipped),
            (&mut widgets.active, self.line),
            (&mut widgets.open, self.skipped),
        ] {
            widget.bg_fill = fill;
            widget.weak_bg_fill = fill;
            widget.bg_stroke = Stroke::new(1.0, self.line);
            widget.corner_radius = CornerRadius::same(6);
            widget.fg_stroke.color = self.text;
        }
        visuals.widgets.hovered.bg_stroke.color = self.accent;
        visuals
    }
}

/// Ten steps of cividis, which looks the same with and without red-green colour blindness.
const CIVIDIS: [[u8; 3]; 10] = [
    [0, 34, 78],
    [18, 53, 112],
    [59, 73, 108],
    [87, 93, 109],
    [112, 113, 115],
    [138, 134, 120],
    [165, 156, 116],
    [195, 179, 105],
    [225, 204, 85],
    [254, 232, 56],
];

/// The colour of a value from 0 (dark blue) to 1 (yellow).
pub fn heat(value: f32) -> Color32 {
    let place = if value.is_finite() {
        value.clamp(0.0, 1.0)
    } else {
        0.0
    } * 9.0;
    let low = place as usize;
    let high = (low + 1).min(9);
    let mix = |channel: usize| {
        let (a, b) = (
            f32::from(CIVIDIS[low][channel]),
            f32::from(CIVIDIS[high][channel]),
        );
        (a + (b - a) * (place - low as f32)).round() as u8
    };
    Color32::from_rgb(mix(0), mix(1), mix(2))
}

/// The relative luminance of WCAG 2.2.
fn luminance(colour: Color32) -> f32 {
    let part = |value: u8| match f32::from(value) / 255.0 {
        value if value <= 0.04045 => value / 12.92,
        value => ((value + 0.055) / 1.055).powf(2.4),
    };
    0.2126 * part(colour.r()) + 0.7152 * part(colour.g()) + 0.0722 * part(colour.b())
}

/// The contrast ratio of WCAG 2.2, from 1 to 21.
fn contrast(a: Color32, b: Color32) -> f32 {
    let [a, b] = [a, b].map(|colour| luminance(colour) + 0.05);
    a.max(b) / a.min(b)
}

/// Dark or white, whichever reads better on `fill`.
pub fn ink_on(fill: Color32) -> Color32 {
    let inks = [Palette::LIGHT.text, Color32::WHITE];
    let [dark, white] = inks.map(|ink| contrast(ink, fill));
    inks[usize::from(white > dark)]
}

/// Spacing and text sizes, the same in both themes.
pub fn style(ctx: &egui::Context) {
    use egui::{FontFamily, FontId, TextStyle};
    for theme in [egui::Theme::Light, egui::Theme::Dark] {
        ctx.set_visuals_of(theme, Palette::of(theme == egui::Theme::Dark).visuals());
    }
    ctx.all_styles_mut(|style| {
        style.spacing.item_spacing = egui::vec2(10.0, 8.0);
        style.spacing.button_padding = egui::vec2(12.0, 5.0);
        style.spacing.interact_size.y = 26.0;
        style.spacing.slider_width = 180.0;
        for (text, size) in [
            (TextStyle::Body, 14.0),
            (TextStyle::Button, 14.0),
            (TextStyle::Small, 12.0),
            (TextStyle::Heading, 22.0),
        ] {
            style
                .text_styles
                .insert(text, FontId::new(size, FontFamily::Proportional));
        }
        style.text_styles.insert(
            TextStyle::Monospace,
            FontId::new(13.0, FontFamily::Monospace),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_told_apart_in_grey() {
        for palette in [Palette::LIGHT, Palette::DARK] {
            let series = (0..SERIES).map(|index| palette.series(index));
            let all: Vec<Color32> = series.chain([palette.line, palette.background]).collect();
            // Of the kernels, some have a series, and the others what is left.
            let kernels = [1, 3, 4].map(|index| palette.series(index));
            let kernels = kernels.into_iter().chain([palette.minor]).collect();
            for mut colours in [all, kernels] {
                colours.sort_by(|a, b| luminance(*a).total_cmp(&luminance(*b)));
                for pair in colours.windows(2) {
                    let contrast = contrast(pair[0], pair[1]);
                    assert!(contrast > 1.3, "{contrast} of {pair:?}");
                }
            }
        }
    }

    /// WCAG 2.2 asks this of graphics, and more of text.
    #[test]
    fn what_carries_a_value_stands_out_from_the_background() {
        for palette in [Palette::LIGHT, Palette::DARK] {
            let series = (0..SERIES).map(|index| palette.series(index));
            let graphics = series.chain([palette.minor]).map(|colour| (colour, 3.0));
            let texts = [palette.text, palette.muted, palette.warning];
            let texts = texts.map(|colour| (colour, 4.5));
            for (colour, least) in graphics.chain(texts) {
                let contrast = contrast(colour, palette.background);
                assert!(contrast >= least, "{contrast} of {colour:?}");
            }
        }
    }

    #[test]
    fn ink_is_the_one_that_reads_better() {
        let named = [Palette::LIGHT, Palette::DARK].map(|palette| [palette.accent, palette.second]);
        let heats = (0..=20).map(|step| heat(step as f32 / 20.0));
        for fill in named.into_iter().flatten().chain(heats) {
            assert!(contrast(ink_on(fill), fill) >= 3.9, "{fill:?}");
        }
    }

    #[test]
    fn heat_rises_in_lightness() {
        let luma = |value: f32| {
            let colour = heat(value);
            0.299 * f32::from(colour.r())
                + 0.587 * f32::from(colour.g())
                + 0.114 * f32::from(colour.b())
        };
        let steps: Vec<f32> = (0..=20).map(|step| luma(step as f32 / 20.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0]), "{steps:?}");
        assert_eq!(heat(f32::NAN), heat(0.0));
    }
}
