//! What can go wrong with a layer.

use std::fmt;
use std::io;

/// Why a layer was refused, or what failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The source of the bytes failed (a broken transfer): trying again may help.
    Source,
    /// The compressed bytes are not those the manifest names: fetch them again.
    DigestMismatch,
    /// More or fewer compressed bytes than the manifest says.
    SizeMismatch,
    /// The tar stream is not the one the image configuration names.
    DiffIdMismatch,
    /// The stream ends in the middle.
    Truncated,
    /// The compressed data is damaged, or of another format than its media type says.
    Compression,
    /// The tar stream breaks its format.
    Format,
    /// A name leads outside of the target directory.
    Escape,
    /// A whiteout that names nothing that can be hidden.
    Whiteout,
    /// One of the [`Limits`](crate::Limits) is passed.
    Limit,
    /// Valid, but not done here.
    Unsupported,
    /// The kernel refused to create or read something.
    Io,
}

/// A refused layer or a failed step: kind, subject and cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    subject: String,
    detail: String,
    cause: Option<io::Error>,
}

impl Error {
    /// An error of `kind` about `subject` (a path in the layer, or what was read).
    pub(crate) fn new(kind: Kind, subject: impl Into<String>, detail: impl Into<String>) -> Error {
        Error { kind, subject: subject.into(), detail: detail.into(), cause: None }
    }

    /// A failed system call: `doing` says which step, in the infinitive.
    pub(crate) fn io(
        subject: impl Into<String>,
        doing: &str,
        cause: impl Into<io::Error>,
    ) -> Error {
        Error {
            kind: Kind::Io,
            subject: subject.into(),
            detail: format!("cannot {doing}"),
            cause: Some(cause.into()),
        }
    }

    /// As [`Error::new`], with the error beneath.
    pub(crate) fn caused(kind: Kind, subject: &str, detail: &str, cause: io::Error) -> Error {
        Error { kind, subject: subject.into(), detail: detail.into(), cause: Some(cause) }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The path in the layer, or the thing, that it is about.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The error number of a failed system call, when there was one.
    pub fn os_error(&self) -> Option<i32> {
        self.cause.as_ref().and_then(io::Error::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.detail)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

/// A name from a layer as it may be printed: no control characters, bounded.
pub(crate) fn shown(name: &[u8]) -> String {
    const MOST: usize = 300;
    let cut = &name[..name.len().min(MOST)];
    let mut text: String = String::from_utf8_lossy(cut).escape_debug().collect();
    if name.len() > MOST {
        text.push_str("...");
    }
    text
}
