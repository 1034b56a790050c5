//! Failures of the parts, as the daemon hears them.

use oci::Kind as Oci;
use shim_protocol::{Error, Kind};

/// Shorthand of this program.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A failure of the runtime.
pub(crate) fn of_runtime(error: oci::Error) -> Error {
    let kind = match error.kind {
        Oci::Invalid => Kind::Invalid,
        Oci::NotFound => Kind::NotFound,
        Oci::Exists => Kind::AlreadyExists,
        Oci::State => Kind::Precondition,
        Oci::Unsupported => Kind::Unsupported,
        Oci::Timeout => Kind::Deadline,
        Oci::Hook | Oci::System(_) => Kind::Io,
    };
    Error::new(kind, error.subject, error.cause)
}

/// A call that the kernel refused.
pub(crate) fn io(
    subject: impl Into<String>,
    what: &str,
    error: impl Into<std::io::Error>,
) -> Error {
    Error::new(Kind::Io, subject, format!("{what}: {}", error.into()))
}
