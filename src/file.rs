//! Files: written whole or not at all, so that nothing is lost; read within bounds, since what is downloaded may be anything;
//! and told apart by digests.

use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Writes a file whole or not at all: what is there stays until the new one is complete and on the disk. A pipe, a
/// device and what `/dev/stdout` leads to are written to as they are.
pub fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    // A folder is no file either, but cannot be opened.
    let other = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    if !other && !is_stream(path) {
        return Written::new(path, fill)?.put();
    }
    let pipe = std::fs::OpenOptions::new().append(true).open(path);
    let filled = pipe.and_then(|pipe| {
        let mut writer = std::io::BufWriter::new(pipe);
        fill(&mut writer)?;
        writer.flush()
    });
    filled.map_err(|error| Error::write(path, error))
}

/// Whether a path is an open stream of this process, which may lead to a file that others write to as well.
fn is_stream(path: &Path) -> bool {
    let streams = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"];
    streams.iter().any(|stream| path.starts_with(stream))
}

/// A file on the disk that is not in its place yet. Files that belong together are all written first, so that a full disk
/// leaves those that were there.
#[must_use = "the file is gone unless it is put in its place"]
pub struct Written {
    file: NamedTempFile,
    path: PathBuf,
}

impl Written {
    /// Writes a file beside its place.
    pub fn new(
        path: &Path,
        fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<Self> {
        let fail = |error| Error::write(path, error);
        // A link to a file stays one, and the file is replaced.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut file = builder().tempfile_in(folder).map_err(fail)?;
        // One that was the user's alone stays so.
        if let Ok(found) = std::fs::metadata(&path) {
            let permissions = found.permissions();
            file.as_file().set_permissions(permissions).map_err(fail)?;
        }
        let mut writer = std::io::BufWriter::new(&mut file);
        fill(&mut writer)
            .and_then(|()| writer.flush())
            .map_err(fail)?;
        drop(writer);
        file.as_file().sync_all().map_err(fail)?;
        Ok(Self { file, path })
    }

    /// Puts it in its place, over what is there.
    pub fn put(self) -> Result<()> {
        let Self { file, path } = self;
        file.persist(&path)
            .map_err(|error| Error::write(&path, error.error))?;
        Ok(())
    }
}

/// Files that belong together, on the disk and not in their places yet.
#[must_use = "the files are gone unless they are put in their places"]
pub struct Staged {
    /// In the order in which they go there.
    pub files: Vec<Written>,
    /// What is not to be beside them.
    pub removed: Option<PathBuf>,
}

impl Staged {
    /// Puts them in their places.
    pub fn put(self) -> Result<()> {
        self.files.into_iter().try_for_each(Written::put)?;
        self.removed.map_or(Ok(()), |path| remove(&path))
    }
}

/// Temporary files are the user's alone by default; what they become should be as readable as any file.
fn builder() -> tempfile::Builder<'static, 'static> {
    #[allow(unused_mut)]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// A field of a CSV line.
pub fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Reads a line, without its end, of at most `most` bytes; `None` behind the last. Not as `lines`, for which one stray byte is
/// the end of the file, and which reads a device that has none until memory is gone.
pub fn read_line(reader: &mut impl BufRead, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if reader.take(most + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 > most {
        let what = format!("a line is longer than {} MiB", most >> 20);
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    }
    Ok(Some(line))
}

/// Removes a file if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::write(path, error))
        }
        _ => Ok(()),
    }
}

/// Opens a file that someone else may have made: a device has no end, and a pipe may never begin.
fn open(path: &Path) -> Result<File> {
    let fail = |error| Error::read(path, error);
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        return Err(Error::file(path, "expected a file", "give another path"));
    }
    File::open(path).map_err(fail)
}

/// Reads a file of at most so many bytes; `remedy` is what to do about a longer one.
pub fn read_at_most(path: &Path, most: u64, remedy: &str) -> Result<Vec<u8>> {
    let fail = |error| Error::read(path, error);
    let file = open(path)?;
    let length = file.metadata().map_err(fail)?.len();
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > most {
        let found = length.max(most + 1);
        let what = format!("expected at most {most} bytes, found {found}");
        return Err(Error::file(path, what, remedy));
    }
    Ok(bytes)
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    let fail = |error| Error::read(path, error);
    let mut file = open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// A short name for bytes, for keys.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes)[..8])
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, symlink};

    #[test]
    fn what_would_end_a_field_is_quoted() {
        let fields = ["plain", "a,b", "a\"b", "a\nb", "a\rb"].map(csv_field);
        let quoted = ["plain", "\"a,b\"", "\"a\"\"b\"", "\"a\nb\"", "\"a\rb\""];
        assert_eq!(fields, quoted);
    }

    #[test]
    fn lines_have_an_end_and_a_bound() {
        let mut text = &b"one\n\xff\nlast"[..];
        for line in [&b"one"[..], b"\xff", b"last"] {
            let found = read_line(&mut text, 4).expect("short enough");
            assert_eq!(found.as_deref(), Some(line));
        }
        assert_eq!(read_line(&mut text, 4).expect("the end"), None);
        for (text, fits) in [
            (&b"four\n"[..], true),
            (b"fives\n", false),
            (b"fives", false),
        ] {
            assert_eq!(read_line(&mut &*text, 4).is_ok(), fits);
        }
    }

    #[test]
    fn links_stay_and_devices_are_written_to() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let is_link = |path: &Path| path.is_symlink();
        write_whole(&path("real"), |file| file.write_all(b"old")).expect("written");
        symlink("real", path("link")).expect("linked");
        write_whole(&path("link"), |file| file.write_all(b"new")).expect("written");
        assert!(is_link(&path("link")));
        assert_eq!(std::fs::read(path("real")).expect("is there"), b"new");
        symlink("/dev/null", path("null")).expect("linked");
        write_whole(&path("null"), |file| file.write_all(b"gone")).expect("written");
        assert!(is_link(&path("null")));
        let null = std::fs::metadata(path("null")).expect("is there");
        assert!(null.file_type().is_char_device());
        let folder = write_whole(folder.path(), |file| file.write_all(b"x"));
        assert!(folder.is_err(), "a folder is no file");
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        };
        entries.map(name).collect()
    }

    #[cfg(unix)]
    #[test]
    fn what_is_replaced_stays_as_private_as_it_was() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        let mode = || {
            std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode()
                & 0o777
        };
        write_whole(&path, |file| file.write_all(b"old")).expect("written");
        let anyone = mode();
        let private = std::fs::Permissions::from_mode(0o400);
        std::fs::set_permissions(&path, private).expect("its owner");
        write_whole(&path, |file| file.write_all(b"new")).expect("written");
        assert_ne!(anyone, 0o400);
        assert_eq!(mode(), 0o400);
    }

    /// What cannot be written whole leaves what was there, and nothing beside it; nor does what is staged and let go.
    #[test]
    fn what_fails_half_way_changes_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        write_whole(&path, |file| file.write_all(b"old")).expect("written");
        let half = |file: &mut dyn Write| {
            file.write_all(b"new")?;
            Err(std::io::Error::other("the disk is full"))
        };
        let error = write_whole(&path, half).expect_err("fails").to_string();
        assert!(error.contains("the disk is full"), "{error}");
        let staged = |bytes: &'static [u8]| Staged {
            files: vec![Written::new(&path, |file| file.write_all(bytes)).expect("written")],
            removed: Some(folder.path().join("other")),
        };
        drop(staged(b"let go"));
        assert_eq!(names(folder.path()), ["file"]);
        assert_eq!(std::fs::read(&path).expect("is there"), b"old");
        std::fs::write(folder.path().join("other"), "not beside it").expect("written");
        staged(b"new").put().expect("is put in its place");
        assert_eq!(names(folder.path()), ["file"]);
        assert_eq!(std::fs::read(&path).expect("is there"), b"new");
    }
}
