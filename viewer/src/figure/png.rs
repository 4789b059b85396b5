//! A figure as a PNG file, without a GPU: the triangles that the window would hand to its adapter, filled
//! one after the other. Fonts and shapes are the window's own.

use super::Figure;
use crate::palette::{self, Palette};
use eframe::egui::epaint::{ImageDelta, Primitive, Vertex};
use eframe::egui::{self, Color32, ColorImage, ImageData, Pos2, Rect, Vec2, vec2};
use egui_system_font_provider::SystemFontProvider;
use first_wgpu::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Pixels to a point: pictures are for screens of high density too.
const SCALE: f32 = 2.0;

/// Space around the figure, in points.
const MARGIN: f32 = 12.0;

/// The most pixels of a picture; more would be gigabytes.
const MOST_PIXELS: f32 = 100e6;

impl Figure {
    /// The figure as a PNG file.
    pub fn png(&self, palette: &Palette) -> Result<Vec<u8>> {
        let size = self.size + Vec2::splat(2.0 * MARGIN);
        let pixels = SCALE * SCALE * size.x * size.y;
        if pixels > MOST_PIXELS {
            return Err(Error::input(
                format!(
                    "a picture of {:.0} million pixels is too large",
                    pixels / 1e6
                ),
                "export SVG or CSV, or a session with fewer runs",
            ));
        }
        let image = self.raster(palette, size);
        let mut bytes = Vec::new();
        let [width, height] = image.size.map(|side| side as u32);
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let rgb: Vec<u8> = image
            .pixels
            .iter()
            .flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b()])
            .collect();
        let written = encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&rgb));
        written.map_err(|error| {
            Error::input(
                format!("the picture has no PNG form: {error}"),
                "export SVG",
            )
        })?;
        Ok(bytes)
    }

    fn raster(&self, palette: &Palette, size: Vec2) -> ColorImage {
        let context = egui::Context::default();
        palette::style(&context);
        // Prompts are in all scripts, of which egui's own fonts have a few.
        context.add_font_provider(Arc::new(SystemFontProvider::new()));
        let theme = if palette.dark {
            egui::Theme::Dark
        } else {
            egui::Theme::Light
        };
        context.set_theme(theme);
        let mut input = egui::RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, size)),
            ..Default::default()
        };
        for viewport in input.viewports.values_mut() {
            viewport.native_pixels_per_point = Some(SCALE);
        }
        let mut output = context.run_ui(input, |ui| self.paint(ui.painter(), Vec2::splat(MARGIN)));
        let mut textures = HashMap::new();
        for (id, deltas) in output.textures_delta.set.drain() {
            for delta in deltas {
                let texture = textures.entry(id).or_insert_with(ColorImage::default);
                update(texture, delta);
            }
        }
        output.textures_delta.clear();
        let side = |points: f32| (points * SCALE).round() as usize;
        let mut image = ColorImage::filled([side(size.x), side(size.y)], palette.background);
        for primitive in context.tessellate(output.shapes, output.pixels_per_point) {
            let Primitive::Mesh(mesh) = primitive.primitive else {
                continue;
            };
            let Some(texture) = textures.get(&mesh.texture_id) else {
                continue;
            };
            for triangle in mesh.triangles() {
                let corners = triangle.map(|index| mesh.vertices[index as usize]);
                fill(&mut image, texture, corners);
            }
        }
        image
    }
}

/// Changes all of a texture, or a part.
fn update(texture: &mut ColorImage, delta: ImageDelta) {
    let ImageData::Color(new) = delta.image;
    let Some([left, top]) = delta.pos else {
        *texture = (*new).clone();
        return;
    };
    for (row, pixels) in new.pixels.chunks_exact(new.size[0]).enumerate() {
        let start = (top + row) * texture.size[0] + left;
        texture.pixels[start..start + pixels.len()].copy_from_slice(pixels);
    }
}

/// Twice the signed area of a triangle.
fn cross(a: Pos2, b: Pos2, c: Pos2) -> f32 {
    (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)
}

/// Blends one triangle over the image.
fn fill(image: &mut ColorImage, texture: &ColorImage, mut corners: [Vertex; 3]) {
    for corner in &mut corners {
        corner.pos = (corner.pos.to_vec2() * SCALE).to_pos2();
    }
    let area = cross(corners[0].pos, corners[1].pos, corners[2].pos);
    if area < 0.0 {
        corners.swap(1, 2);
    }
    let [a, b, c] = corners.map(|corner| corner.pos);
    let bounds = Rect::from_points(&[a, b, c]);
    let span = |low: f32, high: f32, side: usize| {
        let clamp = |value: f32| (value.max(0.0) as usize).min(side);
        clamp((low - 0.5).ceil())..clamp((high - 0.5).floor() + 1.0)
    };
    // Of an edge that two triangles share, only one owns the pixels on it.
    let owns = |from: Pos2, to: Pos2| to.y < from.y || (to.y == from.y && to.x > from.x);
    let edges = [(b, c), (c, a), (a, b)];
    for y in span(bounds.min.y, bounds.max.y, image.size[1]) {
        for x in span(bounds.min.x, bounds.max.x, image.size[0]) {
            let at = (vec2(x as f32, y as f32) + Vec2::splat(0.5)).to_pos2();
            let weights = edges.map(|(from, to)| cross(from, to, at));
            let inside = edges
                .iter()
                .zip(weights)
                .all(|((from, to), weight)| weight > 0.0 || (weight == 0.0 && owns(*from, *to)));
            if !inside || area == 0.0 {
                continue;
            }
            let shares = weights.map(|weight| weight / area.abs());
            let color = sample(texture, &corners, shares);
            let pixel = &mut image.pixels[y * image.size[0] + x];
            *pixel = over(color, *pixel);
        }
    }
}

/// The colour of a place in a triangle: its corners' times the texture's, premultiplied.
fn sample(texture: &ColorImage, corners: &[Vertex; 3], shares: [f32; 3]) -> [f32; 4] {
    let mut uv = Vec2::ZERO;
    let mut color = [0.0; 4];
    for (corner, share) in corners.iter().zip(shares) {
        uv += share * corner.uv.to_vec2();
        for (sum, channel) in color.iter_mut().zip(corner.color.to_array()) {
            *sum += share * f32::from(channel);
        }
    }
    let texel = |share: f32, side: usize| ((share * side as f32) as usize).min(side - 1);
    let [width, height] = texture.size;
    let texel = texture.pixels[texel(uv.y, height) * width + texel(uv.x, width)];
    for (value, channel) in color.iter_mut().zip(texel.to_array()) {
        *value *= f32::from(channel) / 255.0;
    }
    color
}

fn over(color: [f32; 4], below: Color32) -> Color32 {
    let left = 1.0 - color[3] / 255.0;
    let mix = |channel: f32, below: u8| (channel + left * f32::from(below)).round() as u8;
    let [r, g, b, _] = below.to_array();
    Color32::from_rgb(mix(color[0], r), mix(color[1], g), mix(color[2], b))
}

#[cfg(test)]
mod tests {
    use super::super::area;
    use super::*;
    use eframe::egui::pos2;

    #[test]
    fn boxes_and_letters_reach_the_picture() {
        let mut figure = Figure::default();
        let red = Color32::from_rgb(200, 10, 20);
        figure.cell(area(0.0, 0.0, 40.0, 20.0), red, String::new(), None);
        figure.text(pos2(60.0, 10.0), Color32::BLACK, "mmm");
        let size = figure.size + Vec2::splat(2.0 * MARGIN);
        let image = figure.raster(&Palette::LIGHT, size);
        let at = |x: f32, y: f32| {
            let place = |value: f32| ((value + MARGIN) * SCALE) as usize;
            image.pixels[place(y) * image.size[0] + place(x)]
        };
        assert_eq!(at(20.0, 10.0), red);
        assert_eq!(at(50.0, 10.0), Palette::LIGHT.background);
        let dark = image
            .pixels
            .iter()
            .filter(|pixel| pixel.g() > 10 && pixel.g() < 120);
        assert!(dark.count() > 50, "letters are drawn");
        let bytes = figure.png(&Palette::LIGHT).expect("a picture");
        assert!(bytes.starts_with(b"\x89PNG"));
    }

    #[test]
    fn pictures_of_gigabytes_are_refused() {
        let figure = Figure {
            size: vec2(1000.0, 1e6),
            ..Default::default()
        };
        let error = figure.png(&Palette::LIGHT).expect_err("refused");
        assert!(error.to_string().contains("export SVG"));
    }

    #[test]
    fn a_shared_edge_is_blended_once() {
        let mut image = ColorImage::filled([8, 8], Color32::BLACK);
        let white = ColorImage::filled([1, 1], Color32::WHITE);
        let half = Color32::from_rgba_premultiplied(100, 100, 100, 128);
        let corner = |x: f32, y: f32| Vertex::untextured(pos2(x, y), half);
        let corners = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)].map(|(x, y)| corner(x, y));
        fill(&mut image, &white, [corners[0], corners[1], corners[2]]);
        fill(&mut image, &white, [corners[0], corners[2], corners[3]]);
        let lit = image.pixels.iter().filter(|pixel| pixel.r() == 100).count();
        assert_eq!(lit, 64);
    }
}
