//! What goes wrong with a pod, told so that an operator can act.

use std::fmt;

/// What the fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kinds of failure, for callers that decide by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such pod.
    NotFound,
    /// There is a pod of that name already, or one is being made with another configuration.
    AlreadyExists,
    /// The request cannot be served as it is written.
    Invalid,
    /// The request does not fit the state of the pod.
    Precondition,
    /// A plugin or the shim did not answer in time.
    Deadline,
    /// What the pod needs is not there now: its network, its shim.
    Unavailable,
    /// The kernel or the disk refused a step.
    Io,
    /// A plugin failed, or another part of this program.
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
    also: Vec<Error>,
}

impl Error {
    /// A failure about `subject`.
    pub fn new(kind: Kind, subject: impl fmt::Display, cause: impl fmt::Display) -> Error {
        let (subject, cause) = (subject.to_string(), cause.to_string());
        Error(Box::new(Report { kind, subject, cause, advice: String::new(), also: Vec::new() }))
    }

    pub(crate) fn invalid(subject: impl fmt::Display, cause: impl fmt::Display) -> Error {
        Error::new(Kind::Invalid, subject, cause)
    }

    /// A failed call of the kernel.
    pub fn io(subject: impl fmt::Display, cause: &std::io::Error) -> Error {
        Error::new(Kind::Io, subject, cause)
    }

    /// The same failure with what to do about it.
    #[must_use]
    pub fn with_advice(mut self, advice: impl fmt::Display) -> Error {
        self.0.advice = advice.to_string();
        self
    }

    /// The same failure with others beside it.
    #[must_use]
    pub fn and(mut self, others: impl IntoIterator<Item = Error>) -> Error {
        self.0.also.extend(others);
        self
    }

    /// One failure out of several: the first, with the others beside it.
    ///
    /// # Errors
    /// Unless there are none.
    pub fn join(errors: Vec<Error>) -> Result<()> {
        let mut errors = errors.into_iter();
        match errors.next() {
            None => Ok(()),
            Some(first) => Err(first.and(errors)),
        }
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What it is about: a pod, a file, a field of the request.
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

    /// Failures beside this one, for example of the undoing.
    pub fn also(&self) -> &[Error] {
        &self.0.also
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.subject, self.0.cause)?;
        if !self.0.advice.is_empty() {
            write!(f, " ({})", self.0.advice)?;
        }
        for other in &self.0.also {
            write!(f, "; also: {other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
