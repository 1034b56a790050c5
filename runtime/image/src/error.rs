//! What can go wrong with images.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// There is no such image, tag, platform or content.
    NotFound,
    /// A short ID fits several images.
    Ambiguous,
    /// A reference or document does not mean anything.
    Invalid,
    /// A document or layer that is understood and not accepted.
    Refused,
    /// The registry wants other credentials, or denies what they may see.
    Denied,
    /// The registry cannot be reached, is too slow or broke off: trying again may help.
    Unavailable,
    /// What came is not what its digest says, also after it was fetched again.
    Mismatch,
    /// Content on disk is damaged; it was dropped, and a pull fetches it again.
    Damaged,
    /// Another process has the store open.
    InUse,
    /// The disk is full.
    Full,
    /// The operator's configuration of registries is wrong.
    Config,
    /// Somebody who joined the work gave it up.
    Cancelled,
    /// The disk or the kernel failed.
    Io,
}

/// A failure. Cheap to clone: everybody who waits for the same pull is told the same.
#[derive(Clone)]
pub struct Error {
    cause: Arc<Cause>,
}

#[derive(Debug)]
enum Cause {
    Registry(registry::Error),
    Store(store::Error),
    Snapshot(snapshot::Error),
    Other { kind: Kind, subject: String, text: String },
}

impl Error {
    /// A failure of `kind` about `subject`.
    pub(crate) fn new(kind: Kind, subject: impl Into<String>, text: impl fmt::Display) -> Error {
        let (subject, text) = (subject.into(), text.to_string());
        Error::of(Cause::Other { kind, subject, text })
    }

    fn of(cause: Cause) -> Error {
        Error { cause: Arc::new(cause) }
    }

    /// A layer that was refused or could not be written.
    pub(crate) fn snapshot(error: snapshot::Error) -> Error {
        Error::of(Cause::Snapshot(error))
    }

    /// A failed system call on a path.
    pub(crate) fn io(doing: &str, path: &Path, error: &std::io::Error) -> Error {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let kind = if full { Kind::Full } else { Kind::Io };
        Error::new(kind, path.display().to_string(), format!("cannot {doing}: {error}"))
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.cause.as_ref() {
            Cause::Other { kind, .. } => *kind,
            Cause::Registry(error) => of_registry(error.kind()),
            Cause::Store(error) => of_store(error),
            Cause::Snapshot(error) => of_snapshot(error.kind()),
        }
    }

    /// What to do about it, where that can be said.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        match (self.cause.as_ref(), self.kind()) {
            (Cause::Registry(error), _) => error.advice(),
            (_, Kind::InUse) => Some("wait for it to end, or ask it to do the work"),
            (_, Kind::Damaged) => Some("pull the image again"),
            (_, Kind::Ambiguous) => Some("give more digits of the ID"),
            (_, Kind::Full) => Some("free space, `podloom image prune` may help"),
            _ => None,
        }
    }
}

fn of_registry(kind: registry::Kind) -> Kind {
    match kind {
        registry::Kind::NotFound => Kind::NotFound,
        registry::Kind::Unauthorized | registry::Kind::Denied => Kind::Denied,
        registry::Kind::Invalid => Kind::Invalid,
        registry::Kind::Mismatch => Kind::Mismatch,
        registry::Kind::Config => Kind::Config,
        registry::Kind::Refused | registry::Kind::TooLarge => Kind::Refused,
        _ => Kind::Unavailable,
    }
}

fn of_store(error: &store::Error) -> Kind {
    match error {
        store::Error::InUse { .. } => Kind::InUse,
        store::Error::NoBlob { .. }
        | store::Error::NoImage { .. }
        | store::Error::NoLease { .. } => Kind::NotFound,
        store::Error::Ambiguous { .. } => Kind::Ambiguous,
        store::Error::Damaged { .. } => Kind::Damaged,
        store::Error::Mismatch { .. } | store::Error::Size { .. } => Kind::Mismatch,
        store::Error::TooLarge { .. } => Kind::Refused,
        error if error.is_full() => Kind::Full,
        _ => Kind::Io,
    }
}

fn of_snapshot(kind: snapshot::Kind) -> Kind {
    match kind {
        snapshot::Kind::NotFound => Kind::NotFound,
        snapshot::Kind::InUse | snapshot::Kind::Locked => Kind::InUse,
        snapshot::Kind::Layer(layer::Kind::Source) => Kind::Unavailable,
        snapshot::Kind::Layer(layer::Kind::Io) => Kind::Io,
        snapshot::Kind::Layer(layer::Kind::DigestMismatch | layer::Kind::SizeMismatch) => {
            Kind::Mismatch
        }
        snapshot::Kind::Layer(_) => Kind::Refused,
        _ => Kind::Io,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause.as_ref() {
            Cause::Registry(error) => error.fmt(f),
            Cause::Store(error) => error.fmt(f),
            Cause::Snapshot(error) => error.fmt(f),
            Cause::Other { subject, text, .. } => write!(f, "{subject}: {text}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())
    }
}

impl std::error::Error for Error {}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Error {
        Error::of(Cause::Registry(error))
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        Error::of(Cause::Store(error))
    }
}
