//! Weight matrices on the GPU: the file's own quantised bits, reordered once at load.
//!
//! Rows are grouped in tiles of 32, and within a tile the 16-byte words of all rows lie side by side, so
//! that lanes which own neighbouring rows read neighbouring words:
//!
//! - quants `[tiles][blocks of 32 columns][words / 4][32 rows]`, each element four 32-bit words
//! - scales `[tiles][blocks][32 rows]`, the format's own header of 0, 2 or 4 bytes
//!
//! Rows are padded with zeros to whole tiles. A matrix larger than one binding may be is bound in slices
//! of whole tiles. `shaders/weights/<format>.wgsl` reads this layout.

use super::{Format, TensorView};
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Resource, Texel, Texture};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a tile.
pub const TILE: usize = 32;

/// Which rows a tile holds. A kernel finishes rows `i` and `i + 16` of a tile together, so the order
/// decides what an epilogue can combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Rows as they are.
    Plain,
    /// Several matrices one below the other; rows `i` and `i + 16` are neighbours `2i` and `2i + 1`, the
    /// pairs that rotary embedding turns.
    Pairs,
    /// Two matrices of one shape; row `i` is of the first, row `i + 16` the same row of the second.
    Halves,
}

impl Order {
    /// The slot, a row counted through all tiles, of row `row` of matrix `part`, which is row `joint` of all
    /// matrices one below the other.
    pub fn slot(self, part: usize, joint: usize, row: usize) -> usize {
        let within = joint % TILE;
        match self {
            Self::Plain => joint,
            Self::Pairs => joint - within + within / 2 + (within % 2) * TILE / 2,
            Self::Halves => row / (TILE / 2) * TILE + part * TILE / 2 + row % (TILE / 2),
        }
    }
}

/// Tiles of one format in one binding.
#[derive(Clone, Debug)]
pub struct Slice {
    /// How the weights are stored.
    pub format: Format,
    /// The tiles of the matrix that it holds.
    pub tiles: Range<u32>,
    /// Quantised values.
    pub quants: Words,
    /// Block headers, for formats that have them.
    pub scales: Option<Words>,
    /// Bytes a product with it reads.
    pub bytes: u64,
}

/// Where the words of weights, and of updates to them, are kept.
#[derive(Clone, Debug)]
pub enum Words {
    /// Where most adapters read fastest.
    Buffer(Buffer),
    /// Where software Vulkan does.
    Texture(Texture),
}

impl Words {
    /// Uploads `bytes`.
    pub fn new(gpu: &Gpu, name: &str, texel: Texel, bytes: &[u8]) -> Result<Self> {
        Ok(match gpu.class.tuning.textures {
            true => Self::Texture(Texture::from_bytes(gpu, name, texel, bytes)?),
            false => Self::Buffer(Buffer::from_slice(gpu, name, bytes)?),
        })
    }

    fn repeated(
        gpu: &Gpu,
        name: &str,
        texel: Texel,
        pattern: &[u8],
        size_bytes: u64,
    ) -> Result<Self> {
        Ok(match gpu.class.tuning.textures {
            true => Self::Texture(Texture::repeated(gpu, name, texel, pattern, size_bytes)?),
            false => Self::Buffer(Buffer::repeated(gpu, name, pattern, size_bytes)?),
        })
    }

    /// For binding.
    pub fn resource(&self) -> Resource<'_> {
        match self {
            Self::Buffer(buffer) => Resource::Buffer(buffer),
            Self::Texture(texture) => Resource::Texture(texture),
        }
    }
}

/// A weight matrix `[rows, columns]`, or several that are multiplied by the same vector.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Names in messages and traces, as the checkpoint has them.
    pub name: String,
    /// Rows of all its matrices together.
    pub rows: usize,
    /// Columns, a multiple of 32.
    pub columns: usize,
    /// The row order.
    pub order: Order,
    /// Its parts.
    pub slices: Vec<Slice>,
}

impl Format {
    /// Bytes of a block's header.
    fn header_bytes(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => 0,
            Format::Q8_0 | Format::Q4_0 => 2,
            Format::Q4_1 => 4,
        }
    }

    /// Bytes of 32 consecutive values without the header.
    fn quants_bytes(self) -> usize {
        self.row_bytes(32) - self.header_bytes()
    }

    /// Bytes of a tile of 32 rows of `columns` columns.
    fn tile_bytes(self, columns: usize) -> usize {
        TILE * self.row_bytes(columns)
    }
}

impl Linear {
    /// Packs matrices of equal columns and uploads them. Where a tile would mix formats, its rows are
    /// stored as f32, which is exact.
    pub fn pack(gpu: &Gpu, name: &str, order: Order, sources: &[TensorView<'_>]) -> Result<Self> {
        Self::pack_within(gpu, name, order, sources, gpu.slice_bytes())
    }

    /// Like [`Linear::pack`], in slices of at most `most` bytes.
    pub fn pack_within(
        gpu: &Gpu,
        name: &str,
        order: Order,
        sources: &[TensorView<'_>],
        most: u64,
    ) -> Result<Self> {
        let columns = sources[0].columns();
        let rows = sources.iter().map(|source| source.rows()).sum();
        for source in sources {
            let fits = source.columns() == columns && columns.is_multiple_of(32);
            if !fits || (order == Order::Halves && source.rows() * sources.len() != rows) {
                return Err(Error::mismatch(
                    format!(
                        "`{}` has shape [{}, {}], which does not go into `{name}`",
                        source.name,
                        source.rows(),
                        source.columns()
                    ),
                    "use a model whose hidden sizes are multiples of 32",
                ));
            }
        }
        let layout = Layout {
            order,
            sources,
            columns,
        };
        let tiles = layout.tiles();
        let mut slices = Vec::new();
        let mut first = 0;
        while first < tiles {
            let format = layout.format(first);
            let room = (most as usize / format.tile_bytes(columns)).max(1);
            let count = (first..tiles)
                .take(room)
                .take_while(|tile| layout.format(*tile) == format)
                .count();
            slices.push(layout.upload(gpu, name, format, first..first + count)?);
            first += count;
        }
        Ok(Self {
            name: name.to_owned(),
            rows,
            columns,
            order,
            slices,
        })
    }

    /// A matrix of small random weights, the same in every mebibyte, made without passing all of it to the
    /// GPU.
    pub fn random(
        gpu: &Gpu,
        name: &str,
        order: Order,
        format: Format,
        [rows, columns]: [usize; 2],
    ) -> Result<Self> {
        assert!(
            rows.is_multiple_of(TILE) && columns.is_multiple_of(32),
            "{name} [{rows}, {columns}] has whole tiles"
        );
        // Multiples of the golden ratio, modulo 1: spread evenly, and the same everywhere.
        let weight = |index: u32| {
            let turn = index.wrapping_mul(0x9e37_79b9) as f32 / u32::MAX as f32;
            (2.0 * turn - 1.0) / (columns as f32).sqrt()
        };
        let values: Vec<f32> = (0..1 << 18).map(weight).collect();
        let (header, body) = (format.header_bytes(), format.quants_bytes());
        let (mut scales, mut quants) = (Vec::new(), Vec::new());
        for block in format.encode_row(&values).chunks_exact(header + body) {
            scales.extend_from_slice(&block[..header]);
            quants.extend_from_slice(&block[header..]);
        }
        let tiles = rows / TILE;
        let room = (gpu.slice_bytes() as usize / format.tile_bytes(columns)).max(1);
        let slice = |first: usize| {
            let tiles = first..tiles.min(first + room);
            let blocks = tiles.len() * TILE * columns / 32;
            let size = |bytes: usize| (blocks * bytes) as u64;
            Ok(Slice {
                format,
                tiles: tiles.start as u32..tiles.end as u32,
                quants: Words::repeated(gpu, name, Texel::Four, &quants, size(body))?,
                scales: if header > 0 {
                    Some(Words::repeated(
                        gpu,
                        name,
                        Texel::One,
                        &scales,
                        size(header),
                    )?)
                } else {
                    None
                },
                bytes: (blocks * (header + body)) as u64,
            })
        };
        Ok(Self {
            name: name.to_owned(),
            rows,
            columns,
            order,
            slices: (0..tiles).step_by(room).map(slice).collect::<Result<_>>()?,
        })
    }

    /// Rows of all its tiles, padding included.
    pub fn slots(&self) -> usize {
        let end = self.slices.last().map_or(0, |slice| slice.tiles.end);
        end as usize * TILE
    }

    /// Bytes a product with the whole matrix reads.
    pub fn bytes(&self) -> u64 {
        self.slices.iter().map(|slice| slice.bytes).sum()
    }
}

struct Layout<'a> {
    order: Order,
    sources: &'a [TensorView<'a>],
    columns: usize,
}

impl Layout<'_> {
    fn tiles(&self) -> usize {
        match self.order {
            Order::Halves => self.sources[0].rows().div_ceil(TILE / 2),
            Order::Plain | Order::Pairs => self
                .sources
                .iter()
                .map(|source| source.rows())
                .sum::<usize>()
                .div_ceil(TILE),
        }
    }

    /// Source and row behind row `i` of a tile; `None` for padding.
    fn row(&self, tile: usize, i: usize) -> Option<(&TensorView<'_>, usize)> {
        let (half, within) = (i / (TILE / 2), i % (TILE / 2));
        let mut row = match self.order {
            Order::Plain => tile * TILE + i,
            Order::Pairs => tile * TILE + 2 * within + half,
            Order::Halves => {
                let row = tile * TILE / 2 + within;
                return (row < self.sources[half].rows()).then_some((&self.sources[half], row));
            }
        };
        for source in self.sources {
            if row < source.rows() {
                return Some((source, row));
            }
            row -= source.rows();
        }
        None
    }

    /// The format that all rows of a tile share, or f32.
    fn format(&self, tile: usize) -> Format {
        let mut formats = (0..TILE)
            .filter_map(|i| self.row(tile, i))
            .map(|(source, _)| source.format);
        let first = formats.next().unwrap_or(Format::F32);
        if formats.all(|format| format == first) {
            first
        } else {
            Format::F32
        }
    }

    fn upload(&self, gpu: &Gpu, name: &str, format: Format, tiles: Range<usize>) -> Result<Slice> {
        let blocks = self.columns / 32;
        let (header, body) = (format.header_bytes(), format.quants_bytes());
        let (tile_quants, tile_scales) = (blocks * TILE * body, blocks * TILE * header);
        let mut quants = vec![0u8; tiles.len() * tile_quants];
        let mut scales = vec![0u8; (tiles.len() * tile_scales).max(1)];
        let by_tile = quants
            .par_chunks_mut(tile_quants)
            .zip(scales.par_chunks_mut(tile_scales.max(1)));
        let fill = |(index, quants, scales): (usize, &mut [u8], &mut [u8])| {
            for i in 0..TILE {
                let Some((source, row)) = self.row(tiles.start + index, i) else {
                    continue;
                };
                let bytes = source.row(row);
                let mut decoded = Vec::new();
                let bytes = if source.format == format {
                    bytes
                } else {
                    let mut values = vec![0.0; self.columns];
                    source.format.decode_row(bytes, &mut values);
                    decoded.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                    &decoded
                };
                for (block, bytes) in bytes.chunks_exact(header + body).enumerate() {
                    let at = (block * TILE + i) * header;
                    scales[at..at + header].copy_from_slice(&bytes[..header]);
                    for (word, sixteen) in bytes[header..].chunks_exact(16).enumerate() {
                        let at = ((block * (body / 16) + word) * TILE + i) * 16;
                        quants[at..at + 16].copy_from_slice(sixteen);
                    }
                }
            }
        };
        if header > 0 {
            by_tile
                .enumerate()
                .for_each(|(index, (quants, scales))| fill((index, quants, scales)));
        } else {
            quants
                .par_chunks_mut(tile_quants)
                .enumerate()
                .for_each(|(index, quants)| fill((index, quants, &mut [])));
        }
        Ok(Slice {
            format,
            tiles: tiles.start as u32..tiles.end as u32,
            quants: Words::new(gpu, name, Texel::Four, &quants)?,
            scales: if header > 0 {
                Some(Words::new(gpu, name, Texel::One, &scales)?)
            } else {
                None
            },
            bytes: (tiles.len() * (tile_quants + tile_scales)) as u64,
        })
    }
}
