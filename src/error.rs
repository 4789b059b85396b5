//! The one error type of the library.
//!
//! A message says what was expected, what was found, where, and what to do about it, in one line of
//! lower case, so that the command line can print it as it is.

use std::path::{Path, PathBuf};

/// The result of anything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, grouped by what the user can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}; {}", self.message(), remedy(cause, action))]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `write`.
        action: &'static str,
        /// What the operating system said.
        cause: std::io::Error,
    },

    /// A file was read but is not what it should be: truncated, corrupted, of another kind or version.
    #[error("{path}: {message}; {remedy}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found, with the place in the file.
        message: String,
        /// What to do.
        remedy: String,
    },

    /// Two things that should fit each other do not: a router and a model, a mask and a model.
    #[error("{message}; {remedy}")]
    Mismatch {
        /// What was expected, what was found, and where.
        message: String,
        /// What to do.
        remedy: String,
    },

    /// Something the user typed is not valid.
    #[error("{message}; {remedy}")]
    Input {
        /// What was expected and what was given.
        message: String,
        /// What to do.
        remedy: String,
    },

    /// The GPU is missing, lost, too small, or refused something.
    #[error("{message}; {remedy}")]
    Gpu {
        /// What happened.
        message: String,
        /// What to do.
        remedy: String,
    },

    /// The work was stopped because the user asked for it.
    #[error("interrupted")]
    Cancelled,
}

/// What to do about what the operating system said.
fn remedy(cause: &std::io::Error, action: &str) -> String {
    use std::io::ErrorKind as Kind;
    match cause.kind() {
        Kind::NotFound | Kind::NotADirectory => "check that the path is right".to_owned(),
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            format!("make sure that you may {action} it, or give another path")
        }
        Kind::StorageFull | Kind::QuotaExceeded => {
            "make room on the disk, or give another path".to_owned()
        }
        Kind::IsADirectory => "give the path of a file".to_owned(),
        _ => format!("check that the path is right and that you may {action} it"),
    }
}

impl Error {
    /// What was expected, what was found and where, without what to do about it.
    pub fn message(&self) -> String {
        match self {
            Self::Io { path, cause, .. } => format!("{}: {cause}", path.display()),
            Self::File { path, message, .. } => format!("{}: {message}", path.display()),
            Self::Mismatch { message, .. }
            | Self::Input { message, .. }
            | Self::Gpu { message, .. } => message.clone(),
            Self::Cancelled => self.to_string(),
        }
    }

    /// An operating system error while reading `path`.
    pub fn read(path: &Path, cause: std::io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            action: "read",
            cause,
        }
    }

    /// An operating system error while writing `path`.
    pub fn write(path: &Path, cause: std::io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            action: "write",
            cause,
        }
    }

    /// A file that is not what it should be.
    pub fn file(path: &Path, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::File {
            path: path.to_path_buf(),
            message: one_line(message),
            remedy: remedy.into(),
        }
    }

    /// Two things that do not fit each other.
    pub fn mismatch(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Mismatch {
            message: one_line(message),
            remedy: remedy.into(),
        }
    }

    /// Something the user typed.
    pub fn input(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Input {
            message: one_line(message),
            remedy: remedy.into(),
        }
    }

    /// A GPU problem.
    pub fn gpu(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Gpu {
            message: one_line(message),
            remedy: remedy.into(),
        }
    }
}

/// A message without control characters: it may hold what a file says, and go to a terminal.
fn one_line(message: impl Into<String>) -> String {
    let message = message.into();
    if !message.contains(char::is_control) {
        return message;
    }
    let escaped = |character: char| {
        if character.is_control() {
            character.escape_debug().to_string()
        } else {
            character.to_string()
        }
    };
    message.chars().map(escaped).collect()
}

/// The remedy of a model file that contradicts itself.
pub(crate) const BADLY_CONVERTED: &str =
    "the file is damaged or badly converted, download it again";

/// A name from a file for a message: escaped, and not longer than a line.
pub(crate) fn quote(name: &str) -> String {
    const LONGEST: usize = 80;
    let shown: String = name.chars().take(LONGEST).collect();
    let dots = if shown.len() < name.len() { "..." } else { "" };
    format!("`{}{dots}`", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn remedies_fit_what_the_operating_system_said() {
        let said = |kind: ErrorKind| Error::write(Path::new("a.json"), kind.into()).to_string();
        for (kind, remedy) in [
            (
                ErrorKind::StorageFull,
                "; make room on the disk, or give another path",
            ),
            (ErrorKind::NotFound, "; check that the path is right"),
            (
                ErrorKind::PermissionDenied,
                "; make sure that you may write it, or give another path",
            ),
            (ErrorKind::IsADirectory, "; give the path of a file"),
            (
                ErrorKind::Other,
                "; check that the path is right and that you may write it",
            ),
        ] {
            let said = said(kind);
            assert!(
                said.starts_with("a.json: ") && said.ends_with(remedy),
                "{said}"
            );
        }
    }

    #[test]
    fn a_message_has_no_remedy() {
        let cause = std::io::Error::from(ErrorKind::StorageFull);
        let all = [
            Error::write(Path::new("a; b"), cause),
            Error::file(Path::new("a; b"), "expected c", "do d"),
            Error::gpu("no\nGPU", "do d"),
        ];
        let messages = all.each_ref().map(Error::message);
        assert!(messages[0].starts_with("a; b: ") && !messages[0].contains("make room"));
        assert_eq!(messages[1..], ["a; b: expected c", "no\\nGPU"]);
        for (error, message) in all.iter().zip(&messages) {
            assert!(error.to_string().starts_with(message));
        }
    }
}
