//! Weight matrices on the GPU: the file's own quantised bits, reordered once at load.
//!
//! Rows are grouped in tiles of 32, and within a tile the 16-byte words of all rows lie side by side, so
//! that lanes which own neighbouring rows read neighbouring words:
//!
//! - quants `[tiles][blocks of 32 columns][words / 4][32 rows]`, each element four 32-bit words
//! - scales `[tiles][groups of 32 or 256 columns][scales][32 rows]`, each of 2 or 4 bytes
//!
//! A group is what shares a scale in the file. What its scales are the format's file says; some of them are bits of
//! quants that do not fill four words.
//!
//! Rows are padded with zeros to whole tiles. A matrix larger than one binding may be is bound in slices
//! of whole tiles. `shaders/weights/<format>.wgsl` reads this layout.

use super::{Format, Packed, TensorView};
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
    /// Tiles of a matrix that joins parts of so many rows each.
    pub(crate) fn tiles(self, rows: &[usize]) -> usize {
        match self {
            Self::Halves => rows[0].div_ceil(TILE / 2),
            Self::Plain | Self::Pairs => rows.iter().sum::<usize>().div_ceil(TILE),
        }
    }

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
    /// Scales, for formats that have them, and what else of a block is not among the quants.
    pub scales: Option<Words>,
    /// Bytes a product with it reads.
    pub bytes: u64,
}

/// Where the words of weights, and of updates to them, are kept.
#[derive(Clone, Debug)]
pub enum Words {
    /// In a buffer, which most GPUs read fastest.
    Buffer(Buffer),
    /// In a texture, which software Vulkan reads fastest.
    Texture(Texture),
}

impl Words {
    /// Uploads `bytes`.
    pub fn new(gpu: &Gpu, name: &str, texel: Texel, bytes: &[u8]) -> Result<Self> {
        Ok(if gpu.class.tuning.textures {
            Self::Texture(Texture::from_bytes(gpu, name, texel, bytes)?)
        } else {
            Self::Buffer(Buffer::from_slice(gpu, name, bytes)?)
        })
    }

    fn repeated(
        gpu: &Gpu,
        name: &str,
        texel: Texel,
        pattern: &[u8],
        size_bytes: u64,
    ) -> Result<Self> {
        Ok(if gpu.class.tuning.textures {
            Self::Texture(Texture::repeated(gpu, name, texel, pattern, size_bytes)?)
        } else {
            Self::Buffer(Buffer::repeated(gpu, name, pattern, size_bytes)?)
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
    /// How many of these bytes are kept as f32, because tiles have rows of several formats.
    pub mixed_bytes: u64,
}

impl Format {
    fn packed(self) -> &'static Packed {
        &self.spec().packed
    }

    /// Columns whose scales lie together.
    fn group(self) -> usize {
        self.block_len().max(32)
    }

    /// Bytes of the quants and of the scales of a tile of `columns` columns.
    fn tile_bytes(self, columns: usize) -> [usize; 2] {
        let (packed, groups) = (self.packed(), columns / self.group());
        [packed.quants_bytes, packed.scales_bytes()].map(|bytes| TILE * groups * bytes)
    }

    /// Tiles of `columns` columns in a slice of at most `most` bytes.
    fn room(self, columns: usize, most: u64) -> usize {
        let bytes: usize = self.tile_bytes(columns).iter().sum();
        (most as usize / bytes).max(1)
    }

    /// Sorts the bytes of row `i` of a tile into its quants and scales.
    fn pack_row(self, i: usize, row: &[u8], quants: &mut [u8], scales: &mut [u8]) {
        let packed = self.packed();
        let (count, scale_bytes) = (packed.scales, packed.scale_bytes);
        let mut own_quants = vec![0; packed.quants_bytes];
        let mut own_scales = vec![0; packed.scales_bytes()];
        let group_bytes = self.row_bytes(self.group());
        for (group, bytes) in row.chunks_exact(group_bytes).enumerate() {
            (packed.split)(bytes, &mut own_quants, &mut own_scales);
            let words = own_quants.len() / 16;
            for (word, sixteen) in own_quants.chunks_exact(16).enumerate() {
                let at = ((group * words + word) * TILE + i) * 16;
                quants[at..at + 16].copy_from_slice(sixteen);
            }
            for index in 0..count {
                let at = ((group * count + index) * TILE + i) * scale_bytes;
                let scale = &own_scales[index * scale_bytes..][..scale_bytes];
                scales[at..at + scale_bytes].copy_from_slice(scale);
            }
        }
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
            let room = format.room(columns, most);
            let count = (first..tiles)
                .take(room)
                .take_while(|tile| layout.format(*tile) == format)
                .count();
            slices.push(layout.upload(gpu, name, format, first..first + count)?);
            first += count;
        }
        let mixed = (0..tiles).filter(|tile| layout.is_mixed(*tile)).count();
        let f32_bytes: usize = Format::F32.tile_bytes(columns).iter().sum();
        Ok(Self {
            name: name.to_owned(),
            rows,
            columns,
            order,
            slices,
            mixed_bytes: (mixed * f32_bytes) as u64,
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
            rows.is_multiple_of(TILE) && columns.is_multiple_of(format.group()),
            "{name} [{rows}, {columns}] has whole tiles of {format}"
        );
        // Multiples of the golden ratio, modulo 1: spread evenly, and the same everywhere.
        let weight = |index: u32| {
            let turn = index.wrapping_mul(0x9e37_79b9) as f32 / u32::MAX as f32;
            (2.0 * turn - 1.0) / (columns as f32).sqrt()
        };
        // One tile of 8192 columns, of which any number of groups may be repeated.
        let values: Vec<f32> = (0..1 << 18).map(weight).collect();
        let [mut quants, mut scales] = format.tile_bytes(values.len() / TILE).map(|n| vec![0; n]);
        for (i, values) in values.chunks_exact(values.len() / TILE).enumerate() {
            format.pack_row(i, &format.encode_row(values), &mut quants, &mut scales);
        }
        let tiles = rows / TILE;
        let tile_bytes = format.tile_bytes(columns);
        let room = format.room(columns, gpu.slice_bytes());
        let slice = |first: usize| {
            let tiles = first..tiles.min(first + room);
            let [quants_bytes, scales_bytes] = tile_bytes.map(|bytes| (tiles.len() * bytes) as u64);
            let repeated =
                |texel, pattern: &[u8], bytes| Words::repeated(gpu, name, texel, pattern, bytes);
            Ok(Slice {
                format,
                tiles: tiles.start as u32..tiles.end as u32,
                quants: repeated(Texel::Four, &quants, quants_bytes)?,
                scales: match scales_bytes {
                    0 => None,
                    bytes => Some(repeated(Texel::One, &scales, bytes)?),
                },
                bytes: quants_bytes + scales_bytes,
            })
        };
        Ok(Self {
            name: name.to_owned(),
            rows,
            columns,
            order,
            slices: (0..tiles).step_by(room).map(slice).collect::<Result<_>>()?,
            mixed_bytes: 0,
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
        let rows: Vec<_> = self.sources.iter().map(TensorView::rows).collect();
        self.order.tiles(&rows)
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

    /// The formats of a tile's rows.
    fn formats(&self, tile: usize) -> impl Iterator<Item = Format> {
        let rows = (0..TILE).filter_map(move |i| self.row(tile, i));
        rows.map(|(source, _)| source.format)
    }

    /// Whether rows of a tile are of several formats.
    fn is_mixed(&self, tile: usize) -> bool {
        let first = self.formats(tile).next();
        self.formats(tile).any(|format| Some(format) != first)
    }

    /// The format that all rows of a tile share, or f32.
    fn format(&self, tile: usize) -> Format {
        let first = self.formats(tile).next();
        first
            .filter(|_| !self.is_mixed(tile))
            .unwrap_or(Format::F32)
    }

    fn upload(&self, gpu: &Gpu, name: &str, format: Format, tiles: Range<usize>) -> Result<Slice> {
        let [tile_quants, tile_scales] = format.tile_bytes(self.columns);
        let mut quants = vec![0u8; tiles.len() * tile_quants];
        let mut scales = vec![0u8; tiles.len() * tile_scales];
        let fill = |index: usize, quants: &mut [u8], scales: &mut [u8]| {
            for i in 0..TILE {
                let Some((source, row)) = self.row(tiles.start + index, i) else {
                    continue;
                };
                let bytes = source.row(row);
                if source.format == format {
                    format.pack_row(i, bytes, quants, scales);
                } else {
                    let mut values = vec![0.0; self.columns];
                    source.format.decode_row(bytes, &mut values);
                    format.pack_row(i, &format.encode_row(&values), quants, scales);
                }
            }
        };
        let by_tile = quants.par_chunks_mut(tile_quants).enumerate();
        if tile_scales > 0 {
            by_tile
                .zip(scales.par_chunks_mut(tile_scales))
                .for_each(|((index, quants), scales)| fill(index, quants, scales));
        } else {
            by_tile.for_each(|(index, quants)| fill(index, quants, &mut []));
        }
        Ok(Slice {
            format,
            tiles: tiles.start as u32..tiles.end as u32,
            bytes: (quants.len() + scales.len()) as u64,
            quants: Words::new(gpu, name, Texel::Four, &quants)?,
            scales: match tile_scales {
                0 => None,
                _ => Some(Words::new(gpu, name, Texel::One, &scales)?),
            },
        })
    }
}
