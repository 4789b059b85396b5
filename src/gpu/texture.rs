//! Read-only words in a texture, for a driver that reads textures faster than buffers.

use super::device::{Counters, Gpu};
use crate::error::Result;

/// Bytes of a row: 2048 texels of four words, or 8192 of one. Index `i` lies at `(i % texels, i / texels)`,
/// as the `*_texture.wgsl` of `shaders/lib` read it.
const ROW: usize = 32_768;

/// What a texel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texel {
    /// One 32-bit word.
    One,
    /// Four of them.
    Four,
}

impl Texel {
    /// The format of such texels.
    pub(super) fn format(self) -> wgpu::TextureFormat {
        match self {
            Self::One => wgpu::TextureFormat::R32Uint,
            Self::Four => wgpu::TextureFormat::Rgba32Uint,
        }
    }

    /// Texels in a row.
    pub(crate) fn width(self) -> u32 {
        match self {
            Self::One => ROW as u32 / 4,
            Self::Four => ROW as u32 / 16,
        }
    }
}

/// Words in a two-dimensional texture of unsigned integers, which shaders read as a storage texture.
#[derive(Clone, Debug)]
pub struct Texture {
    raw: wgpu::Texture,
    pub(super) view: wgpu::TextureView,
}

impl Texture {
    /// Room for `size_bytes`, in whole rows.
    fn new(gpu: &Gpu, label: &str, texel: Texel, size_bytes: u64) -> Result<Self> {
        gpu.check_lost()?;
        Counters::add(&gpu.counters.buffers, 1);
        let rows = size_bytes.div_ceil(ROW as u64).max(1);
        let raw = gpu.device.create_texture(&wgpu::TextureDescriptor {
            label: Some(label),
            size: wgpu::Extent3d {
                width: texel.width(),
                height: rows as u32,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: texel.format(),
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        gpu.check_memory(label, size_bytes)?;
        let view = raw.create_view(&Default::default());
        Ok(Self { raw, view })
    }

    /// A texture that holds `bytes`, padded with zeros to whole rows.
    pub fn from_bytes(gpu: &Gpu, label: &str, texel: Texel, bytes: &[u8]) -> Result<Self> {
        let texture = Self::new(gpu, label, texel, bytes.len() as u64)?;
        let (whole, rest) = bytes.split_at(bytes.len() / ROW * ROW);
        texture.write(gpu, 0, whole);
        if !rest.is_empty() {
            let mut last = rest.to_vec();
            last.resize(ROW, 0);
            texture.write(gpu, (whole.len() / ROW) as u32, &last);
        }
        gpu.check_memory(label, bytes.len() as u64)?;
        Ok(texture)
    }

    /// A texture of at least `size_bytes` filled with `pattern` again and again.
    pub fn repeated(
        gpu: &Gpu,
        label: &str,
        texel: Texel,
        pattern: &[u8],
        size_bytes: u64,
    ) -> Result<Self> {
        let texture = Self::new(gpu, label, texel, size_bytes)?;
        let rows = pattern.len().div_ceil(ROW);
        let source: Vec<u8> = pattern.iter().copied().cycle().take(rows * ROW).collect();
        let height = texture.raw.height();
        for first in (0..height).step_by(rows) {
            let count = (height - first).min(rows as u32) as usize;
            texture.write(gpu, first, &source[..count * ROW]);
        }
        gpu.flush()?;
        Ok(texture)
    }

    /// Writes whole rows from row `y` on.
    fn write(&self, gpu: &Gpu, y: u32, bytes: &[u8]) {
        let target = wgpu::TexelCopyTextureInfo {
            texture: &self.raw,
            mip_level: 0,
            origin: wgpu::Origin3d { x: 0, y, z: 0 },
            aspect: wgpu::TextureAspect::All,
        };
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(ROW as u32),
            rows_per_image: None,
        };
        let size = wgpu::Extent3d {
            width: self.raw.width(),
            height: (bytes.len() / ROW) as u32,
            depth_or_array_layers: 1,
        };
        gpu.queue.write_texture(target, bytes, layout, size);
    }
}
