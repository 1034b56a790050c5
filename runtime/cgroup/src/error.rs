//! What goes wrong with control groups, told so that an operator can act.

use std::fmt;
use std::io;
use std::path::Path;

/// A failure: what kind, about which path, unit, process or value, and why.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    subject: String,
    reason: String,
    source: Option<io::Error>,
}

/// Kinds of failure, for callers that decide by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A path, name or value of the request is not valid.
    Invalid,
    /// The request is valid, but this kernel or layout cannot do it.
    Unsupported,
    /// A limit was asked whose controller is not mounted or not enabled here.
    ControllerMissing,
    /// The kernel or systemd refused for lack of rights.
    NoPermission,
    /// The group exists already and is in use.
    InUse,
    /// It did not happen before the deadline.
    Timeout,
    /// systemd reported a failure.
    Systemd,
    /// A system call failed.
    Io,
}

impl Error {
    pub(crate) fn new(kind: Kind, subject: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self { kind, subject: subject.to_string(), reason: reason.to_string(), source: None }
    }

    pub(crate) fn invalid(subject: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::new(Kind::Invalid, subject, reason)
    }

    /// A failed system call on `path`; the kind follows from its number.
    pub(crate) fn io(path: &Path, verb: &str, source: impl Into<io::Error>) -> Self {
        Self::call(path.display(), verb, source)
    }

    /// A failed system call on anything.
    pub(crate) fn call(
        subject: impl fmt::Display,
        verb: &str,
        source: impl Into<io::Error>,
    ) -> Self {
        let source = source.into();
        let kind = match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Kind::NoPermission,
            Some(libc::ETIMEDOUT) => Kind::Timeout,
            _ => Kind::Io,
        };
        Self { kind, subject: subject.to_string(), reason: verb.to_owned(), source: Some(source) }
    }

    /// The same failure under another kind.
    pub(crate) fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same failure with a hint for the operator.
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.reason = format!("{}: {hint}", self.reason);
        self
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The path, unit, process or value it is about.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The number of the failed system call, if one failed.
    pub fn errno(&self) -> Option<i32> {
        self.source.as_ref().and_then(io::Error::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.reason)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

/// What calls of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
