//! A small writer of GGUF version 3, for tests and for the generated model.

use super::Format;
use super::gguf::{DEFAULT_ALIGNMENT, Kind, MAGIC};
use crate::error::Result;
use crate::file::write_whole;
use std::path::Path;

/// Collects keys and tensors, then writes the file at once.
#[derive(Clone, Debug, Default)]
pub struct GgufWriter {
    keys: Vec<(String, Vec<u8>)>,
    tensors: Vec<Tensor>,
}

#[derive(Clone, Debug)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    format: Format,
    bytes: Vec<u8>,
}

impl GgufWriter {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    fn key(&mut self, key: &str, kind: Kind, value: &[u8]) -> &mut Self {
        let value = [&kind.number().to_le_bytes()[..], value].concat();
        self.keys.push((key.to_owned(), value));
        self
    }

    fn array(&mut self, key: &str, element: Kind, count: usize, bytes: Vec<u8>) -> &mut Self {
        let mut value = element.number().to_le_bytes().to_vec();
        value.extend((count as u64).to_le_bytes());
        value.extend(bytes);
        self.key(key, Kind::Array, &value)
    }

    /// Adds a `u32`.
    pub fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.key(key, Kind::U32, &value.to_le_bytes())
    }

    /// Adds an `f32`.
    pub fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.key(key, Kind::F32, &value.to_le_bytes())
    }

    /// Adds a boolean.
    pub fn bool(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key, Kind::Bool, &[u8::from(value)])
    }

    /// Adds a string.
    pub fn str(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key, Kind::Str, &string(value))
    }

    /// Adds an array of strings.
    pub fn strings<S: AsRef<str>>(&mut self, key: &str, values: &[S]) -> &mut Self {
        let bytes = values
            .iter()
            .flat_map(|value| string(value.as_ref()))
            .collect();
        self.array(key, Kind::Str, values.len(), bytes)
    }

    /// Adds an array of `i32`.
    pub fn i32s(&mut self, key: &str, values: &[i32]) -> &mut Self {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, Kind::I32, values.len(), bytes)
    }

    /// Adds a tensor from its values, row-major in the order of `shape` (an HF checkpoint's).
    ///
    /// # Panics
    /// If the values are not as many as the shape says, or a row is not a whole number of blocks.
    pub fn tensor(
        &mut self,
        name: &str,
        format: Format,
        shape: &[usize],
        values: &[f32],
    ) -> &mut Self {
        let count: usize = shape.iter().product();
        assert_eq!(
            values.len(),
            count,
            "values of {name}, whose shape is {shape:?}"
        );
        // Checks that a row is a whole number of blocks.
        let _ = format.row_bytes(shape.last().copied().unwrap_or(1));
        let bytes = format.encode_row(values);
        self.tensors.push(Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            format,
            bytes,
        });
        self
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let alignment = DEFAULT_ALIGNMENT as usize;
        let mut out = MAGIC.to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(string(key));
            out.extend(value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            for &length in tensor.shape.iter().rev() {
                out.extend((length as u64).to_le_bytes());
            }
            out.extend(tensor.format.ggml_type().to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset = (offset + tensor.bytes.len()).next_multiple_of(alignment);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(alignment), 0);
            out.extend(&tensor.bytes);
        }
        out
    }

    /// Writes the file so that a reader sees all of it or nothing: to a temporary file beside it, synced, then renamed.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), |file| file.write_all(&self.to_bytes()))
    }
}

/// A string with its length before it.
fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
