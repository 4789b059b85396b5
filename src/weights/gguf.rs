//! The reader of GGUF files, versions 2 and 3.
//!
//! A GGUF file is a header (magic, version, counts), metadata (keys with typed values), a table of tensors
//! (name, dimensions, type, offset) and, aligned, the tensors' bytes. The file is mapped into memory, so that
//! only what is used is read. [`Gguf::open`] checks the whole header: after it every tensor of a known
//! format lies inside the file and overlaps no other. It trusts nothing it reads, and what it allocates is
//! bounded by the size of the file.
//!
//! Source: `ggml/docs/gguf.md`.

mod cursor;
mod value;

pub use value::{FromValue, Kind, Value};

use super::{Format, TensorView};
use crate::error::{Error, Result, quote};
use cursor::{Cursor, DAMAGED};
use memmap2::Mmap;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// What a file starts with.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// The alignment of tensors in a file that names none.
pub(super) const DEFAULT_ALIGNMENT: u32 = 32;

/// ggml's limit.
const MAX_DIMENSIONS: u32 = 4;

/// An open GGUF file.
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    version: u32,
    /// Where the value of a key starts.
    metadata: BTreeMap<String, (Kind, usize)>,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

/// A row of the table of tensors.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// Row-major: the reverse of the file's dimensions.
    pub shape: Vec<usize>,
    /// The file's number for the type, which may be one that we cannot decode.
    pub ggml_type: u32,
    /// Where the bytes start, counted from the start of the file.
    pub offset: u64,
    /// How many there are, if the format is known.
    pub bytes: Option<u64>,
}

impl TensorInfo {
    /// The format, if it is one that we read.
    pub fn format(&self) -> Option<Format> {
        Format::from_ggml_type(self.ggml_type)
    }

    /// The name of the type, known or not.
    pub fn type_name(&self) -> String {
        let names = [
            (9, "q8_1"),
            (10, "q2_k"),
            (11, "q3_k"),
            (15, "q8_k"),
            (16, "iq2_xxs"),
            (17, "iq2_xs"),
            (18, "iq3_xxs"),
            (19, "iq1_s"),
            (20, "iq4_nl"),
            (21, "iq3_s"),
            (22, "iq2_s"),
            (23, "iq4_xs"),
            (29, "iq1_m"),
            (34, "tq1_0"),
            (35, "tq2_0"),
            (39, "mxfp4"),
        ];
        let unread = || names.iter().find(|(number, _)| *number == self.ggml_type);
        match (self.format(), unread()) {
            (Some(format), _) => format.name().to_owned(),
            (None, Some((_, name))) => (*name).to_owned(),
            (None, None) => format!("type {}", self.ggml_type),
        }
    }
}

impl Gguf {
    /// Maps a file and checks its header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(|error| Error::read(path, error))?;
        if !metadata.is_file() {
            return Err(Error::file(
                path,
                "expected a GGUF file, found a folder or a device",
                "give the path of a .gguf file",
            ));
        }
        // Mapping an empty file is an error on some systems; a short one is told here too.
        if metadata.len() < 24 {
            let message = format!(
                "expected a GGUF file of at least 24 bytes, found {}",
                metadata.len()
            );
            return Err(Error::file(path, message, DAMAGED));
        }
        let file = std::fs::File::open(path).map_err(|error| Error::read(path, error))?;
        // SAFETY: a map is undefined behaviour if another process shortens or rewrites the file while we read it.
        // Every program that maps model files accepts that; the alternative is a copy of all weights.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::read(path, error))?;
        Self::parse(path, map)
    }

    fn parse(path: &Path, map: Mmap) -> Result<Self> {
        let mut cursor = Cursor::new(path, &map, 0);
        let version = read_version(&mut cursor)?;
        // A tensor's row is a name of no bytes, one dimension, a type and an offset; a key has a type and a value.
        let tensor_count = cursor.count(8 + 4 + 8 + 4 + 8, "number of tensors")?;
        let key_count = cursor.count(8 + 4 + 1, "number of keys")?;

        let mut metadata = BTreeMap::new();
        for _ in 0..key_count {
            let at = cursor.at();
            let key = cursor.string("key")?;
            let kind = cursor.kind(&quote(key))?;
            let place = (kind, cursor.at());
            cursor.value(kind, &quote(key))?;
            if metadata.insert(key.to_owned(), place).is_some() {
                return Err(cursor.error(
                    at,
                    format!("expected every key once, found {} twice", quote(key)),
                ));
            }
        }

        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            tensors.push(read_tensor_info(&mut cursor)?);
        }
        let end_of_header = cursor.at();
        let mut gguf = Self {
            path: path.to_path_buf(),
            map,
            version,
            metadata,
            tensors,
            by_name: HashMap::new(),
        };
        gguf.place_tensors(end_of_header)?;
        gguf.index_tensors()?;
        Ok(gguf)
    }

    /// Turns offsets that count from the start of the data into offsets in the file, and checks them.
    fn place_tensors(&mut self, end_of_header: usize) -> Result<()> {
        let alignment = match self.optional::<u32>("general.alignment")? {
            Some(alignment) if !alignment.is_power_of_two() => {
                let message =
                    format!("expected a power of two as `general.alignment`, found {alignment}");
                return Err(Error::file(&self.path, message, DAMAGED));
            }
            alignment => u64::from(alignment.unwrap_or(DEFAULT_ALIGNMENT)),
        };
        let data_start = (end_of_header as u64).next_multiple_of(alignment);
        let file_bytes = self.file_bytes();
        for tensor in &mut self.tensors {
            let fail = |message: String| {
                Err(Error::file(
                    &self.path,
                    format!("tensor {}: {message}", quote(&tensor.name)),
                    DAMAGED,
                ))
            };
            if !tensor.offset.is_multiple_of(alignment) {
                return fail(format!(
                    "expected an offset that is a multiple of {alignment}, found {}",
                    tensor.offset
                ));
            }
            let bytes = tensor.bytes.unwrap_or(0);
            let start = data_start.checked_add(tensor.offset);
            match start.and_then(|start| Some((start, start.checked_add(bytes)?))) {
                Some((start, end)) if end <= file_bytes => tensor.offset = start,
                _ => {
                    return fail(format!(
                        "expected {bytes} bytes at offset {} of the data, which starts at byte {data_start}, found \
                         the end of the file at byte {file_bytes}",
                        tensor.offset
                    ));
                }
            }
        }

        let mut in_order: Vec<&TensorInfo> = self.tensors.iter().collect();
        in_order.sort_by_key(|tensor| tensor.offset);
        for pair in in_order.windows(2) {
            // How long a tensor of an unknown format is, is unknown; at least it has a byte.
            let end = pair[0].offset + pair[0].bytes.unwrap_or(1);
            if end > pair[1].offset {
                let message = format!(
                    "expected tensors apart, found {} to end at byte {end} and {} to start at byte {}",
                    quote(&pair[0].name),
                    quote(&pair[1].name),
                    pair[1].offset
                );
                return Err(Error::file(&self.path, message, DAMAGED));
            }
        }
        Ok(())
    }

    fn index_tensors(&mut self) -> Result<()> {
        for (index, tensor) in self.tensors.iter().enumerate() {
            if self.by_name.insert(tensor.name.clone(), index).is_some() {
                let message = format!(
                    "expected every tensor once, found {} twice",
                    quote(&tensor.name)
                );
                return Err(Error::file(&self.path, message, DAMAGED));
            }
        }
        Ok(())
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the file.
    pub fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// The version of the file format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        let &(kind, at) = self.metadata.get(key)?;
        // It was read once when the file was opened, so it reads again.
        Cursor::new(&self.path, &self.map, at).value(kind, key).ok()
    }

    /// All keys in alphabetical order, with their values.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.metadata
            .keys()
            .filter_map(|key| Some((key.as_str(), self.get(key)?)))
    }

    /// The value of a key that a file may leave out. A value of another type is an error all the same.
    pub fn optional<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        T::from_value(value).map(Some).map_err(|found| {
            let message = format!(
                "expected {} in key {}, found {found}",
                T::EXPECTED,
                quote(key)
            );
            Error::file(&self.path, message, DAMAGED)
        })
    }

    /// The value of a key that a file must have.
    pub fn required<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T> {
        self.optional(key)?.ok_or_else(|| {
            let message = format!(
                "expected {} in key {}, found no such key",
                T::EXPECTED,
                quote(key)
            );
            Error::file(
                &self.path,
                message,
                "give a GGUF file of a language model, converted by a recent version",
            )
        })
    }

    /// The table of tensors, in the order of the file; those of formats that we cannot decode are listed too.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// Whether there is a tensor of this name.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// A tensor by its name in the file.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        let Some(&index) = self.by_name.get(name) else {
            let message = format!(
                "expected a tensor {}, found none among {}",
                quote(name),
                self.tensors.len()
            );
            return Err(Error::file(
                &self.path,
                message,
                "give a complete GGUF file of a supported model",
            ));
        };
        let tensor = &self.tensors[index];
        let (Some(format), Some(bytes)) = (tensor.format(), tensor.bytes) else {
            let supported = Format::ALL.map(Format::name).join(", ");
            let message = format!(
                "tensor {} is in format {}, expected one of {supported}",
                quote(name),
                tensor.type_name()
            );
            return Err(Error::file(
                &self.path,
                message,
                "give the same model as Q4_K_M, Q5_K_M, Q6_K, Q8_0 or Q4_0",
            ));
        };
        // The header's check put them inside the map.
        let bytes = &self.map[tensor.offset as usize..][..bytes as usize];
        Ok(TensorView {
            name: &tensor.name,
            format,
            shape: &tensor.shape,
            bytes,
        })
    }
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32> {
    let magic = cursor.take(4, "magic")?;
    if magic != MAGIC {
        let message = format!(
            "expected a GGUF file, which starts with `GGUF`, found `{}`",
            magic.escape_ascii()
        );
        return Err(Error::file(
            cursor.path,
            message,
            "give the path of a .gguf file",
        ));
    }
    let version = cursor.u32("version")?;
    match version {
        2 | 3 => Ok(version),
        _ if (1..=3).contains(&version.swap_bytes()) => Err(Error::file(
            cursor.path,
            "expected a little-endian GGUF file, found a big-endian one",
            "convert the model for little-endian machines",
        )),
        _ => Err(Error::file(
            cursor.path,
            format!("expected GGUF version 2 or 3, found {version}"),
            "convert the model again with a recent version, or update this program",
        )),
    }
}

/// Reads a row of the table of tensors; its offset still counts from the start of the data.
fn read_tensor_info(cursor: &mut Cursor<'_>) -> Result<TensorInfo> {
    let at = cursor.at();
    let name = cursor.string("name of a tensor")?.to_owned();
    let dimensions = cursor.u32("number of dimensions")?;
    let fail = |cursor: &Cursor<'_>, message: String| {
        Err(cursor.error(at, format!("tensor {}: {message}", quote(&name))))
    };
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return fail(
            cursor,
            format!("expected 1 to {MAX_DIMENSIONS} dimensions, found {dimensions}"),
        );
    }
    let mut shape = Vec::new();
    let mut values = 1u64;
    for _ in 0..dimensions {
        let length = cursor.u64("dimension")?;
        // A value takes at least half a byte, and the rows' bytes must be countable in 64 bits.
        match values
            .checked_mul(length)
            .filter(|values| *values < u64::MAX / 8)
        {
            Some(product) if product > 0 => values = product,
            _ => {
                return fail(
                    cursor,
                    format!(
                        "expected a shape that fits in the file, found a dimension of {length}"
                    ),
                );
            }
        }
        shape.push(length as usize);
    }
    shape.reverse();
    let ggml_type = cursor.u32("type of a tensor")?;
    let offset = cursor.u64("offset of a tensor")?;
    let bytes = match Format::from_ggml_type(ggml_type) {
        None => None,
        Some(format) => {
            let (columns, block) = (shape[shape.len() - 1] as u64, format.block_len() as u64);
            if !columns.is_multiple_of(block) {
                return fail(
                    cursor,
                    format!(
                        "expected rows of whole {format} blocks of {block}, found {columns} columns"
                    ),
                );
            }
            Some(values / block * format.block_bytes() as u64)
        }
    };
    Ok(TensorInfo {
        name,
        shape,
        ggml_type,
        offset,
        bytes,
    })
}
