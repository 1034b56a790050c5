//! What goes wrong, and about what.

use std::fmt;

/// A subject and the cause of its failure.
#[derive(Debug)]
pub(crate) struct Error {
    subject: String,
    cause: String,
}

/// What the fallible functions of this program return.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(subject: impl fmt::Display, cause: impl fmt::Display) -> Error {
        Error { subject: subject.to_string(), cause: cause.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.cause)
    }
}

/// Says what a failure is about.
pub(crate) trait About<T> {
    fn about(self, subject: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> About<T> for std::result::Result<T, E> {
    fn about(self, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|cause| Error::new(subject, cause))
    }
}
