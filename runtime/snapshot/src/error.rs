//! What can go wrong with snapshots.

use crate::name::Name;
use std::fmt;
use std::io;
use std::path::Path;

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// There is no snapshot of that name.
    NotFound,
    /// There is one already.
    Exists,
    /// Others are built on it, or it is being made.
    InUse,
    /// A name or request that makes no sense.
    Invalid,
    /// Another process uses the root.
    Locked,
    /// This machine or file system cannot do it.
    Unsupported,
    /// A layer was refused.
    Layer(layer::Kind),
    /// The kernel refused something.
    Io,
}

/// A failed request: kind, subject and cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    subject: String,
    detail: String,
    cause: Option<Cause>,
}

#[derive(Debug)]
enum Cause {
    Io(io::Error),
    Layer(layer::Error),
}

impl Error {
    pub(crate) fn new(kind: Kind, subject: impl fmt::Display, detail: impl Into<String>) -> Error {
        Error { kind, subject: subject.to_string(), detail: detail.into(), cause: None }
    }

    /// A failed system call on `path`; `doing` says which step, in the infinitive.
    pub(crate) fn io(path: &Path, doing: &str, cause: impl Into<io::Error>) -> Error {
        Error {
            kind: Kind::Io,
            subject: path.display().to_string(),
            detail: format!("cannot {doing}"),
            cause: Some(Cause::Io(cause.into())),
        }
    }

    /// As [`Error::io`], of another kind.
    pub(crate) fn of(mut self, kind: Kind) -> Error {
        self.kind = kind;
        self
    }

    pub(crate) fn layer(name: &Name, doing: &str, cause: layer::Error) -> Error {
        Error {
            kind: Kind::Layer(cause.kind()),
            subject: name.to_string(),
            detail: format!("cannot {doing}"),
            cause: Some(Cause::Layer(cause)),
        }
    }

    pub(crate) fn tree(path: &Path, doing: &str, cause: layer::Error) -> Error {
        Error {
            kind: Kind::Io,
            subject: path.display().to_string(),
            detail: format!("cannot {doing}"),
            cause: Some(Cause::Layer(cause)),
        }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name or path that it is about.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.detail)?;
        match &self.cause {
            Some(Cause::Io(cause)) => write!(f, ": {cause}"),
            Some(Cause::Layer(cause)) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Some(Cause::Io(cause)) => Some(cause),
            Some(Cause::Layer(cause)) => Some(cause),
            None => None,
        }
    }
}
