//! What goes wrong with streams, told so that an operator can act.

use std::fmt;

/// What the fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kinds of failure, for callers that decide by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be served as it is written.
    Invalid,
    /// What is to be streamed is not there: the container, the pod, the port.
    NotFound,
    /// What is to be streamed is not in the state for it.
    Precondition,
    /// Too many streams were asked for and not begun.
    Exhausted,
    /// Nobody answered in time.
    Deadline,
    /// The kernel, the disk or the network refused a step.
    Io,
    /// A failure behind the server: of the shim, of the runtime.
    Internal,
}

/// A failure: of which kind, about what, why, and what to do.
#[derive(Clone, Debug)]
pub struct Error(Box<Report>);

#[derive(Clone, Debug)]
struct Report {
    kind: Kind,
    subject: String,
    cause: String,
    advice: String,
}

impl Error {
    /// A failure about `subject`.
    pub fn new(kind: Kind, subject: impl fmt::Display, cause: impl fmt::Display) -> Error {
        let (subject, cause) = (subject.to_string(), cause.to_string());
        Error(Box::new(Report { kind, subject, cause, advice: String::new() }))
    }

    pub(crate) fn invalid(subject: impl fmt::Display, cause: impl fmt::Display) -> Error {
        Error::new(Kind::Invalid, subject, cause)
    }

    /// The same failure with what to do about it.
    #[must_use]
    pub fn with_advice(mut self, advice: impl fmt::Display) -> Error {
        self.0.advice = advice.to_string();
        self
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What it is about: an address, a file, a field of the request.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Why.
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// What to do; may be empty.
    pub fn advice(&self) -> &str {
        &self.0.advice
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.subject, self.0.cause)?;
        if !self.0.advice.is_empty() {
            write!(f, " ({})", self.0.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
