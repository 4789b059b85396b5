//! Reading the header of a GGUF file, field by field, from bytes that nobody vouches for.
//!
//! Every read is checked against the end of the file, and no count is believed before the bytes that it
//! would need are known to be there.

use super::value::{Kind, Value};
use crate::error::Error;
use std::path::Path;

/// The remedy of a file that contradicts itself.
pub(super) const DAMAGED: &str = "the file is damaged or cut off, download it again";

/// Arrays of arrays exist in the specification and in no known model.
const MAX_ARRAY_DEPTH: usize = 4;

/// A place in the file.
pub(super) struct Cursor<'a> {
    pub(super) path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8], at: usize) -> Self {
        Self { path, bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes from here to the end of the file.
    pub(super) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// An error about what stands at byte `at`.
    pub(super) fn error(&self, at: usize, message: impl std::fmt::Display) -> Error {
        Error::file(self.path, format!("at byte {at}: {message}"), DAMAGED)
    }

    /// The next bytes.
    pub(super) fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], Error> {
        if count > self.remaining() {
            let message = format!(
                "expected {count} bytes of {what}, found {} before the end of the file",
                self.remaining()
            );
            return Err(self.error(self.at, message));
        }
        // It fits in the file, and the file fits in memory.
        let bytes = &self.bytes[self.at..][..count as usize];
        self.at += bytes.len();
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count of things that take at least `smallest` bytes each.
    pub(super) fn count(&mut self, smallest: u64, what: &str) -> Result<u64, Error> {
        let at = self.at;
        let count = self.u64(what)?;
        let most = self.remaining() / smallest;
        if count > most {
            let message = format!(
                "expected at most {most} for the {what}, as many as fit in the file, found {count}"
            );
            return Err(self.error(at, message));
        }
        Ok(count)
    }

    /// The bytes of a string.
    pub(super) fn string_bytes(&mut self, what: &str) -> Result<&'a [u8], Error> {
        let count = self.count(1, what)?;
        self.take(count, what)
    }

    /// A string that is valid UTF-8.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a str, Error> {
        let at = self.at;
        let bytes = self.string_bytes(what)?;
        std::str::from_utf8(bytes).map_err(|error| {
            let message = format!(
                "expected UTF-8 in the {what}, found byte {} to break it",
                error.valid_up_to()
            );
            self.error(at, message)
        })
    }

    pub(super) fn kind(&mut self, what: &str) -> Result<Kind, Error> {
        let at = self.at;
        let number = self.u32("type")?;
        Kind::from_number(number).ok_or_else(|| {
            self.error(
                at,
                format!("expected a value type from 0 to 12 for {what}, found {number}"),
            )
        })
    }

    /// The value of a key, which ends where the cursor then stands.
    pub(super) fn value(&mut self, kind: Kind, key: &str) -> Result<Value<'a>, Error> {
        let at = self.at;
        let what = format!("value of {key}");
        Ok(match kind {
            Kind::Str => Value::Str(self.string(&what)?),
            Kind::Array => self.array_value(key, 1)?,
            scalar => {
                let bytes = self.take(scalar.bytes().unwrap_or(0), &what)?;
                scalar.scalar(bytes).ok_or_else(|| {
                    self.error(
                        at,
                        format!("expected 0 or 1 as the boolean {key}, found {}", bytes[0]),
                    )
                })?
            }
        })
    }

    /// An array: its elements are walked over, not decoded.
    fn array_value(&mut self, key: &str, depth: usize) -> Result<Value<'a>, Error> {
        let at = self.at;
        if depth > MAX_ARRAY_DEPTH {
            let message = format!(
                "expected at most {MAX_ARRAY_DEPTH} arrays inside one another in {key}, found more"
            );
            return Err(self.error(at, message));
        }
        let what = format!("array {key}");
        let element = self.kind(&what)?;
        let count = self.count(element.smallest_bytes(), &format!("length of {key}"))?;
        let start = self.at;
        match element.bytes() {
            // The count was checked against the bytes that remain.
            Some(bytes) => drop(self.take(count * bytes, &what)?),
            None if element == Kind::Str => {
                for _ in 0..count {
                    self.string_bytes(&what)?;
                }
            }
            None => {
                for _ in 0..count {
                    self.array_value(key, depth + 1)?;
                }
            }
        }
        let bytes = &self.bytes[start..self.at];
        Ok(Value::Array {
            element,
            count,
            bytes,
        })
    }
}
