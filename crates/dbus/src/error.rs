//! What goes wrong with a connection or a message.

use std::fmt;
use std::io;

/// What calls of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure: what kind, about which socket or value, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind.
    pub kind: Kind,
    /// The socket or value.
    pub subject: String,
    /// Why.
    pub reason: String,
}

/// Kinds of failure, for callers that decide by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value cannot be told in a message.
    Invalid,
    /// Nobody listens on the socket.
    Absent,
    /// The other side lets the caller not in.
    Denied,
    /// There was no answer before the deadline.
    Timeout,
    /// What came is no D-Bus, or refuses a call that nobody else answers.
    Protocol,
    /// A system call failed.
    Io,
}

impl Error {
    pub(crate) fn new(kind: Kind, subject: impl fmt::Display, reason: impl fmt::Display) -> Error {
        Error { kind, subject: subject.to_string(), reason: reason.to_string() }
    }

    pub(crate) fn invalid(subject: impl fmt::Display, reason: impl fmt::Display) -> Error {
        Error::new(Kind::Invalid, subject, reason)
    }

    /// A failed system call; the kind follows from the cause.
    pub(crate) fn io(subject: impl fmt::Display, verb: &str, cause: &io::Error) -> Error {
        let kind = match cause.kind() {
            io::ErrorKind::PermissionDenied => Kind::Denied,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Kind::Timeout,
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Kind::Absent,
            _ => Kind::Io,
        };
        Error::new(kind, subject, format_args!("{verb}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.reason)
    }
}

impl std::error::Error for Error {}
