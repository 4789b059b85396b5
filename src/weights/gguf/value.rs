//! The values of a GGUF file's metadata, and what they can be read as.

use crate::error::quote;

/// The type of a value, as the file numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `uint8`
    U8,
    /// `int8`
    I8,
    /// `uint16`
    U16,
    /// `int16`
    I16,
    /// `uint32`
    U32,
    /// `int32`
    I32,
    /// `float32`
    F32,
    /// `bool`, one byte
    Bool,
    /// `string`
    Str,
    /// `array`
    Array,
    /// `uint64`
    U64,
    /// `int64`
    I64,
    /// `float64`
    F64,
}

impl Kind {
    /// In the order of the file's numbers, with the bytes of the types of fixed size.
    const ALL: [(Self, &'static str, Option<u64>); 13] = [
        (Self::U8, "u8", Some(1)),
        (Self::I8, "i8", Some(1)),
        (Self::U16, "u16", Some(2)),
        (Self::I16, "i16", Some(2)),
        (Self::U32, "u32", Some(4)),
        (Self::I32, "i32", Some(4)),
        (Self::F32, "f32", Some(4)),
        (Self::Bool, "boolean", Some(1)),
        (Self::Str, "string", None),
        (Self::Array, "array", None),
        (Self::U64, "u64", Some(8)),
        (Self::I64, "i64", Some(8)),
        (Self::F64, "f64", Some(8)),
    ];

    /// The type with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).map(|(kind, ..)| *kind)
    }

    /// The number of this type.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// How messages call it.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The bytes of a value, if all values of the type have as many.
    pub(super) fn bytes(self) -> Option<u64> {
        Self::ALL[self as usize].2
    }

    /// The fewest bytes a value can have: an empty string is its length, an empty array its type and length.
    pub(super) fn smallest_bytes(self) -> u64 {
        match self {
            Self::Str => 8,
            Self::Array => 12,
            _ => self.bytes().unwrap_or(1),
        }
    }

    /// Reads a value of fixed size from exactly its bytes. None for a boolean that is neither 0 nor 1.
    pub(super) fn scalar<'a>(self, bytes: &[u8]) -> Option<Value<'a>> {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        // Moves the sign bit up, then shifts it back down with its copies.
        let signed = |bytes: u32| (bits << (64 - 8 * bytes)).cast_signed() >> (64 - 8 * bytes);
        Some(match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Value::Unsigned(bits),
            Self::I8 => Value::Signed(signed(1)),
            Self::I16 => Value::Signed(signed(2)),
            Self::I32 => Value::Signed(signed(4)),
            Self::I64 => Value::Signed(bits.cast_signed()),
            Self::F32 => Value::Float(f64::from(f32::from_bits(bits as u32))),
            Self::F64 => Value::Float(f64::from_bits(bits)),
            Self::Bool if bits < 2 => Value::Bool(bits == 1),
            Self::Bool | Self::Str | Self::Array => return None,
        })
    }
}

/// A value of the metadata, borrowed from the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `u8` to `u64`.
    Unsigned(u64),
    /// `i8` to `i64`.
    Signed(i64),
    /// `f32` or `f64`.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Str(&'a str),
    /// An array, decoded when it is asked for.
    Array {
        /// The type of its elements.
        element: Kind,
        /// How many there are.
        count: u64,
        /// Their bytes.
        bytes: &'a [u8],
    },
}

/// One line for a listing and for messages; a long string or an array is summarised.
impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Str(value) => f.write_str(&quote(value)),
            Self::Array { element, count, .. } => write!(f, "array of {count} {}", element.name()),
        }
    }
}

/// What a value can be read as. The error says what was found instead.
pub trait FromValue<'a>: Sized {
    /// How messages call what is expected.
    const EXPECTED: &'static str;

    /// Reads the value.
    fn from_value(value: Value<'a>) -> Result<Self, String>;
}

macro_rules! integers {
    ($($integer:ty, $one:literal, $many:literal;)*) => {$(
        impl<'a> FromValue<'a> for $integer {
            const EXPECTED: &'static str = $one;

            fn from_value(value: Value<'a>) -> Result<Self, String> {
                match value {
                    Value::Unsigned(value) => Self::try_from(value).ok(),
                    Value::Signed(value) => Self::try_from(value).ok(),
                    _ => None,
                }
                .ok_or_else(|| value.to_string())
            }
        }

        impl<'a> FromValue<'a> for Vec<$integer> {
            const EXPECTED: &'static str = $many;

            fn from_value(value: Value<'a>) -> Result<Self, String> {
                scalars(value)
            }
        }
    )*};
}

integers! {
    u32, "a u32", "an array of u32";
    u64, "a u64", "an array of u64";
    i32, "an i32", "an array of i32";
}

impl<'a> FromValue<'a> for f32 {
    const EXPECTED: &'static str = "a float";

    fn from_value(value: Value<'a>) -> Result<Self, String> {
        match value {
            Value::Float(value) => Ok(value as Self),
            _ => Err(value.to_string()),
        }
    }
}

impl<'a> FromValue<'a> for Vec<f32> {
    const EXPECTED: &'static str = "an array of floats";

    fn from_value(value: Value<'a>) -> Result<Self, String> {
        scalars(value)
    }
}

impl<'a> FromValue<'a> for bool {
    const EXPECTED: &'static str = "a boolean";

    fn from_value(value: Value<'a>) -> Result<Self, String> {
        match value {
            Value::Bool(value) => Ok(value),
            _ => Err(value.to_string()),
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";

    fn from_value(value: Value<'a>) -> Result<Self, String> {
        match value {
            Value::Str(value) => Ok(value),
            _ => Err(value.to_string()),
        }
    }
}

impl<'a> FromValue<'a> for Vec<&'a str> {
    const EXPECTED: &'static str = "an array of strings";

    fn from_value(value: Value<'a>) -> Result<Self, String> {
        let Value::Array {
            element: Kind::Str,
            count,
            mut bytes,
        } = value
        else {
            return Err(value.to_string());
        };
        let mut strings = Self::new();
        for index in 0..count {
            // The walk at opening time checked these lengths.
            let (length, rest) = bytes
                .split_first_chunk()
                .ok_or("an array that ends early")?;
            let (string, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
            let string = std::str::from_utf8(string)
                .map_err(|_| format!("a string {index} that is not UTF-8"))?;
            strings.push(string);
            bytes = rest;
        }
        Ok(strings)
    }
}

/// Reads every element of an array of scalars.
fn scalars<'a, T: FromValue<'a>>(value: Value<'a>) -> Result<Vec<T>, String> {
    let Value::Array { element, bytes, .. } = value else {
        return Err(value.to_string());
    };
    let Some(element_bytes) = element.bytes() else {
        return Err(value.to_string());
    };
    bytes
        .chunks_exact(element_bytes as usize)
        .enumerate()
        .map(|(index, bytes)| {
            let scalar = element
                .scalar(bytes)
                .ok_or(format!("no boolean at index {index}"))?;
            T::from_value(scalar).map_err(|found| format!("{found} at index {index} of an {value}"))
        })
        .collect()
}
