//! Files that lie: every one is a one-line error with a remedy, never a panic.

use first_wgpu::weights::Format;
use first_wgpu::weights::gguf::{Gguf, Value};
use first_wgpu::weights::gguf_writer::GgufWriter;
use proptest::prelude::*;
use std::path::PathBuf;

fn write(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a file in it");
    (folder, path)
}

/// Two keys and two tensors of 32 bytes.
fn valid() -> Vec<u8> {
    let values: Vec<f32> = (0..8).map(|i| i as f32).collect();
    let mut writer = GgufWriter::new();
    writer
        .u32("count", 7)
        .str("general.architecture", "llama")
        .strings("tokens", &["a", "b"])
        .i32s("types", &[1, -3])
        .f32("epsilon", 0.5)
        .bool("flag", true)
        .tensor("first", Format::F32, &[2, 4], &values)
        .tensor("second", Format::F32, &[8], &values);
    writer.to_bytes()
}

#[test]
fn a_valid_file_reads_back() {
    let (_folder, path) = write(&valid());
    let gguf = Gguf::open(&path).expect("a valid file");
    assert_eq!(gguf.required::<u32>("count").expect("a u32"), 7);
    assert_eq!(
        gguf.required::<&str>("general.architecture")
            .expect("a string"),
        "llama"
    );
    assert_eq!(
        gguf.required::<Vec<&str>>("tokens").expect("strings"),
        ["a", "b"]
    );
    assert_eq!(
        gguf.required::<Vec<i32>>("types").expect("integers"),
        [1, -3]
    );
    assert_eq!(gguf.optional::<f32>("epsilon").expect("a float"), Some(0.5));
    assert_eq!(
        gguf.optional::<bool>("flag").expect("a boolean"),
        Some(true)
    );
    assert_eq!(gguf.optional::<bool>("other").expect("nothing"), None);
    assert_eq!(gguf.metadata().count(), 6);
    assert!(matches!(
        gguf.get("tokens"),
        Some(Value::Array { count: 2, .. })
    ));
    let first = gguf.tensor("first").expect("a tensor");
    assert_eq!(
        (first.shape, first.rows(), first.columns()),
        (&[2, 4][..], 2, 4)
    );
    assert_eq!(gguf.tensor("second").expect("a tensor").to_f32()[7], 7.0);
}

#[test]
fn wrong_types_and_missing_keys_name_the_key() {
    let (_folder, path) = write(&valid());
    let gguf = Gguf::open(&path).expect("a valid file");
    for (error, expected) in [
        (
            gguf.required::<&str>("count").map(drop),
            "expected a string in key `count`, found 7",
        ),
        (
            gguf.required::<u32>("epsilon").map(drop),
            "expected a u32 in key `epsilon`, found 0.5",
        ),
        (
            gguf.required::<Vec<u32>>("types").map(drop),
            "found -3 at index 1 of an array of 2 i32",
        ),
        (
            gguf.required::<Vec<f32>>("tokens").map(drop),
            "found array of 2 string",
        ),
        (
            gguf.required::<u32>("none").map(drop),
            "in key `none`, found no such key",
        ),
        (
            gguf.tensor("third").map(drop),
            "expected a tensor `third`, found none among 2",
        ),
    ] {
        let error = error.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Where a needle starts in the valid file.
fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("the needle")
}

/// A change to the valid file, and what the error must say.
type Lie = (&'static str, fn(&mut Vec<u8>), &'static str);

const LIES: &[Lie] = &[
    ("empty", |b| b.clear(), "at least 24 bytes, found 0"),
    ("short", |b| b.truncate(23), "at least 24 bytes, found 23"),
    (
        "another kind",
        |b| b[0] = b'P',
        "starts with `GGUF`, found `PGUF`",
    ),
    ("version 1", |b| b[4] = 1, "version 2 or 3, found 1"),
    ("version 9", |b| b[4] = 9, "version 2 or 3, found 9"),
    (
        "big endian",
        |b| b[4..8].copy_from_slice(&[0, 0, 0, 3]),
        "big-endian",
    ),
    (
        "tensor count",
        |b| b[8..16].fill(0xff),
        "for the number of tensors",
    ),
    (
        "key count",
        |b| b[16..24].fill(0xff),
        "for the number of keys",
    ),
    ("more keys than there are", |b| b[16] += 1, "at byte"),
    (
        "key length",
        |b| b[24..32].fill(0xff),
        "for the key, as many as fit",
    ),
    (
        "key is not UTF-8",
        |b| b[32] = 0xff,
        "expected UTF-8 in the key",
    ),
    (
        "value type",
        |b| b[37] = 13,
        "expected a value type from 0 to 12 for `count`, found 13",
    ),
    (
        "string length",
        |b| {
            let at = find(b, b"llama") - 1;
            b[at] = 0x7f;
        },
        "for the value of `general.architecture`",
    ),
    (
        "string is not UTF-8",
        |b| {
            let at = find(b, b"llama");
            b[at + 2] = 0xc0;
        },
        "expected UTF-8",
    ),
    (
        "array length",
        |b| {
            let at = find(b, b"types") + 5 + 8;
            b[at + 7] = 0x10;
        },
        "for the length of `types`",
    ),
    (
        "array of nothing known",
        |b| {
            let at = find(b, b"types") + 5 + 4;
            b[at] = 99;
        },
        "found 99",
    ),
    (
        "boolean of 2",
        |b| {
            let at = find(b, b"flag") + 4 + 4;
            b[at] = 2;
        },
        "expected 0 or 1",
    ),
    (
        "key twice",
        |b| {
            let at = find(b, b"types");
            b[at..at + 5].copy_from_slice(b"count");
        },
        "found `count` twice",
    ),
    (
        "no dimensions",
        |b| {
            let at = find(b, b"first") + 5;
            b[at] = 0;
        },
        "1 to 4 dimensions, found 0",
    ),
    (
        "five dimensions",
        |b| {
            let at = find(b, b"first") + 5;
            b[at] = 5;
        },
        "1 to 4 dimensions, found 5",
    ),
    (
        "dimension of 0",
        |b| {
            let at = find(b, b"first") + 9;
            b[at] = 0;
        },
        "found a dimension of 0",
    ),
    (
        "shape overflows",
        |b| {
            let at = find(b, b"first") + 9;
            b[at + 7] = 0x80;
            b[at + 15] = 0x80;
        },
        "expected a shape that fits",
    ),
    (
        "huge shape",
        |b| {
            let at = find(b, b"first") + 9;
            b[at + 5] = 1;
        },
        "the end of the file",
    ),
    (
        "half a block",
        |b| {
            let at = find(b, b"first") + 25;
            b[at] = 3;
        },
        "whole q4_1 blocks of 32, found 4 columns",
    ),
    (
        "offset past the end",
        |b| {
            let at = find(b, b"first") + 29;
            b[at + 4] = 1;
        },
        "the end of the file at byte",
    ),
    (
        "offset overflows",
        |b| {
            let at = find(b, b"first") + 29;
            b[at..at + 8].fill(0xff);
            b[at] = 0xe0;
        },
        "the end of the file",
    ),
    (
        "offset between",
        |b| {
            let at = find(b, b"first") + 29;
            b[at] = 4;
        },
        "a multiple of 32, found 4",
    ),
    (
        "overlap",
        |b| {
            let at = find(b, b"second") + 6 + 4 + 8 + 4;
            b[at] = 0;
        },
        "expected tensors apart",
    ),
    (
        "data cut off",
        |b| b.truncate(b.len() - 1),
        "tensor `second`: expected 32 bytes at offset 32",
    ),
];

#[test]
fn lying_files_are_one_line_errors() {
    for (name, lie, expected) in LIES {
        let mut bytes = valid();
        lie(&mut bytes);
        let (_folder, path) = write(&bytes);
        let Err(error) = Gguf::open(&path) else {
            panic!("{name}: was opened")
        };
        let error = error.to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(
            !error.contains('\n') && error.contains("; "),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_path_that_is_no_file_is_an_error() {
    let (folder, path) = write(&[]);
    for path in [folder.path().to_path_buf(), path.with_extension("none")] {
        assert!(Gguf::open(path).is_err());
    }
}

#[test]
fn alignment_is_a_power_of_two() {
    for (alignment, fits) in [
        (0, false),
        (24, false),
        (1 << 31, false),
        (32, true),
        (8, true),
    ] {
        let mut writer = GgufWriter::new();
        writer
            .u32("general.alignment", alignment)
            .tensor("t", Format::F32, &[1], &[1.0]);
        let (_folder, path) = write(&writer.to_bytes());
        assert_eq!(Gguf::open(path).is_ok(), fits, "{alignment}");
    }
}

#[test]
fn a_tensor_of_an_unread_format_is_an_error_only_when_asked_for() {
    let mut bytes = valid();
    let at = find(&bytes, b"first") + 25;
    bytes[at] = 10;
    let (_folder, path) = write(&bytes);
    let gguf = Gguf::open(path).expect("a listing");
    assert_eq!(gguf.tensors().next().expect("a tensor").type_name(), "q2_k");
    let error = gguf.tensor("first").expect_err("no decoder").to_string();
    assert!(
        error.contains("tensor `first` is in format q2_k, expected one of f32, f16"),
        "{error}"
    );
    assert!(gguf.tensor("second").is_ok());
}

#[test]
fn arrays_inside_arrays_end() {
    // A hundred arrays of one array each, the innermost empty.
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.push(b'k');
    bytes.extend(9u32.to_le_bytes());
    for _ in 0..100 {
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
    }
    bytes.extend([0; 12]);
    let (_folder, path) = write(&bytes);
    let Err(error) = Gguf::open(path) else {
        panic!("was opened")
    };
    assert!(
        error
            .to_string()
            .contains("at most 4 arrays inside one another"),
        "{error}"
    );
}

/// Opens a file and asks for everything in it.
fn exercise(bytes: &[u8]) -> Result<(), first_wgpu::Error> {
    let (_folder, path) = write(bytes);
    let gguf = Gguf::open(path)?;
    for (key, value) in gguf.metadata() {
        let _ = (
            value.to_string(),
            gguf.required::<Vec<&str>>(key),
            gguf.required::<Vec<u32>>(key),
        );
    }
    for tensor in gguf.tensors() {
        if let Ok(view) = gguf.tensor(&tensor.name) {
            assert_eq!(view.to_f32().len(), view.rows() * view.columns());
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(
        changes in prop::collection::vec((0usize..4096, any::<u8>()), 0..6),
        keep in 0usize..4096,
        cut in any::<bool>(),
    ) {
        let mut bytes = valid();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(keep % bytes.len());
        }
        if let Err(error) = exercise(&bytes) {
            prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
