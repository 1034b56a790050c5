//! Why a plugin cannot be put on trial.

use std::fmt;

/// What is wrong, with what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The option, file or key.
    pub subject: String,
    /// What is wrong with it.
    pub cause: String,
}

/// A result with this room's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error about `subject`.
    pub fn new(subject: impl fmt::Display, cause: impl fmt::Display) -> Error {
        Error { subject: subject.to_string(), cause: cause.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.cause)
    }
}

impl std::error::Error for Error {}
