//! Weight files and weight formats on the CPU.
//!
//! A tensor is rows of columns; every row is a whole number of *blocks*, and a format says how many values
//! a block holds and how its bytes spell them. One small file per format declares that, in `formats/`;
//! nothing else in the crate knows the bytes of a block, except the format's shader twin
//! `shaders/weights/<format>.wgsl`, which is tested against the decoder here.
//!
//! | module | what lives there |
//! |---|---|
//! | [`gguf`] | the reader of GGUF files, which trusts nothing it reads |
//! | [`gguf_writer`] | a small writer, for tests and the generated model |
//! | [`names`] | GGUF's tensor names and the HF checkpoint's |
//! | [`pack`] | weights in the layout that the kernels read |
//!
//! Sources: the GGUF specification (`ggml/docs/gguf.md`) and the block layouts of `ggml-common.h`. All
//! numbers are little-endian.

mod formats;
pub mod gguf;
pub mod gguf_writer;
pub mod names;
pub mod pack;

use half::f16;

/// How the values of a tensor are spelled in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// The upper 16 bits of 32-bit floats.
    Bf16,
    /// Blocks of 32 8-bit integers with one f16 scale: `d * q`.
    Q8_0,
    /// Blocks of 32 4-bit integers with one f16 scale: `d * (q - 8)`.
    Q4_0,
    /// Blocks of 32 4-bit integers with an f16 scale and an f16 minimum: `d * q + m`.
    Q4_1,
    /// Blocks of 32 5-bit integers with one f16 scale: `d * (q - 16)`.
    Q5_0,
    /// Blocks of 32 5-bit integers with an f16 scale and an f16 minimum: `d * q + m`.
    Q5_1,
    /// Blocks of 256 4-bit integers with two f16 scales, of which every 32 have 6-bit multiples: `d * s * q - dmin * m`.
    Q4K,
    /// Like the one before, with 5-bit integers.
    Q5K,
    /// Blocks of 256 6-bit integers with one f16 scale, of which every 16 have an 8-bit multiple: `d * s * (q - 32)`.
    Q6K,
}

/// What a format's file declares.
struct Spec {
    name: &'static str,
    /// Its path under `shaders/`, without `.wgsl`.
    shader: &'static str,
    ggml_type: u32,
    block_len: usize,
    block_bytes: usize,
    /// Decodes whole blocks. The caller has checked that the two lengths agree.
    decode: fn(bytes: &[u8], out: &mut [f32]),
    /// Appends the blocks of the values. The caller has checked that they are whole.
    encode: fn(values: &[f32], out: &mut Vec<u8>),
    /// What the GPU has of a block.
    packed: Packed,
}

/// How a block, or 32 values of a format without blocks, is taken apart for the GPU: into quants, 16 bytes or a multiple
/// of them for each 32 columns, and what is left, the scales, with bits of quants that fill no 16 bytes. [`pack`] says
/// where they go.
struct Packed {
    /// Bytes of quants.
    quants_bytes: usize,
    /// How many scales there are.
    scales: usize,
    /// Bytes of each, 2 or 4.
    scale_bytes: usize,
    /// Takes a block apart.
    split: fn(block: &[u8], quants: &mut [u8], scales: &mut [u8]),
}

impl Packed {
    /// 32 values without a scale, as they are.
    const fn plain(bytes: usize) -> Self {
        Self::behind_scale(bytes, 0)
    }

    /// A block of 32 whose bytes are one scale and then the quants, which stay as they are.
    const fn behind_scale(block_bytes: usize, scale_bytes: usize) -> Self {
        Self {
            quants_bytes: block_bytes - scale_bytes,
            scales: (scale_bytes > 0) as usize,
            scale_bytes,
            split: |block, quants, scales| {
                let (header, body) = block.split_at(scales.len());
                scales.copy_from_slice(header);
                quants.copy_from_slice(body);
            },
        }
    }

    /// Bytes of all scales.
    fn scales_bytes(&self) -> usize {
        self.scales * self.scale_bytes
    }
}

impl Format {
    /// Every format, in the order of the enum.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    fn spec(self) -> &'static Spec {
        formats::spec(self)
    }

    /// GGUF's name in lower case.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// The module of the kernels that reads it, as [`Variant::imports`](crate::gpu::Variant::imports) have it.
    pub(crate) fn shader(self) -> &'static str {
        self.spec().shader
    }

    /// The format with this number in a GGUF file, if it is one that we read.
    pub fn from_ggml_type(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.ggml_type() == number)
    }

    /// The format with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// The number of this format in a GGUF file.
    pub fn ggml_type(self) -> u32 {
        self.spec().ggml_type
    }

    /// Values per block: 1 for the float formats, 32 or 256 for the quantised ones.
    pub fn block_len(self) -> usize {
        self.spec().block_len
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.spec().block_bytes
    }

    /// The format itself, or where `columns`, a multiple of 32, are not whole blocks of it, that which llama.cpp's
    /// `llama-quantize` writes in its place.
    pub fn for_columns(self, columns: usize) -> Self {
        match self {
            _ if columns.is_multiple_of(self.block_len()) => self,
            Self::Q4K => Self::Q5_0,
            Self::Q5K => Self::Q5_1,
            Self::Q6K => Self::Q8_0,
            _ => self,
        }
    }

    /// Bytes of a row.
    ///
    /// # Panics
    /// If the columns are not a whole number of blocks; readers of files check this first.
    pub fn row_bytes(self, columns: usize) -> usize {
        let spec = self.spec();
        assert!(
            columns.is_multiple_of(spec.block_len),
            "{columns} columns are not whole blocks of {}",
            spec.name
        );
        columns / spec.block_len * spec.block_bytes
    }

    /// Decodes a row (or several, lying one after another) to f32, exactly as ggml defines it.
    ///
    /// # Panics
    /// If `bytes` is not [`row_bytes`](Self::row_bytes) of `out`'s length.
    pub fn decode_row(&self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(
            bytes.len(),
            self.row_bytes(out.len()),
            "bytes of a {} row of {} values",
            self.name(),
            out.len()
        );
        (self.spec().decode)(bytes, out);
    }

    /// Encodes a row to the nearest values that the format can spell.
    ///
    /// # Panics
    /// If the values are not a whole number of blocks.
    pub fn encode_row(&self, values: &[f32]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.row_bytes(values.len()));
        (self.spec().encode)(values, &mut out);
        out
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor of a weight file: its bytes are borrowed from the memory map.
#[derive(Clone, Copy)]
pub struct TensorView<'a> {
    /// The name in the file.
    pub name: &'a str,
    /// How the values are spelled.
    pub format: Format,
    /// Row-major, as in an HF checkpoint (the reverse of GGUF's dimensions): `[rows, columns]` or `[columns]`.
    pub shape: &'a [usize],
    /// The rows, one after another.
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    /// The length of a row.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// How many rows there are: 1 for a vector.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// The bytes of one row.
    pub fn row(&self, row: usize) -> &[u8] {
        let row_bytes = self.format.row_bytes(self.columns());
        &self.bytes[row * row_bytes..][..row_bytes]
    }

    /// All values, decoded.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.shape.iter().product()];
        self.format.decode_row(self.bytes, &mut values);
        values
    }
}

/// Says what it is without printing its bytes.
impl std::fmt::Debug for TensorView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.format, self.shape)
    }
}

/// Reads the f16 at the start of `bytes`.
fn read_f16(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// Appends a value as f16 and returns what it became, so that quanta are chosen for the scale a reader sees.
fn push_f16(value: f32, out: &mut Vec<u8>) -> f32 {
    let value = f16::from_f32(value);
    out.extend_from_slice(&value.to_le_bytes());
    value.to_f32()
}

/// Appends the scale and the minimum by which whole numbers from 0 to `most` spell the values; gives the scale's inverse
/// and the minimum.
fn push_affine(values: &[f32], most: f32, out: &mut Vec<u8>) -> (f32, f32) {
    let smallest = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let inverse = inverse(push_f16((largest - smallest) / most, out));
    (inverse, push_f16(smallest, out))
}

/// The value that is farthest from zero, or zero.
fn largest_magnitude(values: &[f32]) -> f32 {
    let larger = |m: f32, &v: &f32| if v.abs() > m.abs() { v } else { m };
    values.iter().fold(0.0, larger)
}

/// The inverse of a scale, 0 where the scale is: a block of equal values has no quanta to choose.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

#[cfg(test)]
mod tests;
