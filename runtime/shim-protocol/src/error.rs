//! Failures as they travel.

use serde::{Deserialize, Serialize};

/// A failure: its kind, what it is about, its cause, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Kind, for callers that must tell failures apart.
    pub kind: Kind,
    /// What was worked on: a container, a path, a key of the configuration.
    pub subject: String,
    /// What is wrong.
    pub cause: String,
    /// What to do, where that is known; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is no such container or process.
    NotFound,
    /// Something of this name exists.
    AlreadyExists,
    /// The request is wrong; nothing was done.
    Invalid,
    /// The container is not in a state that allows this.
    Precondition,
    /// Something took longer than its deadline.
    Deadline,
    /// The shim is gone, or ends.
    Unavailable,
    /// The shim, the runtime or this host cannot do what is asked.
    Unsupported,
    /// The kernel or another program refused.
    Io,
    /// The other side broke the protocol, or a kind that this release does not know.
    #[serde(other)]
    Internal,
}

impl Error {
    /// A failure without advice.
    pub fn new(kind: Kind, subject: impl Into<String>, cause: impl Into<String>) -> Error {
        Error { kind, subject: subject.into(), cause: cause.into(), advice: String::new() }
    }

    /// The same failure, with what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Error {
        self.advice = advice.into();
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.subject, self.cause)?;
        if self.advice.is_empty() { Ok(()) } else { write!(out, "; {}", self.advice) }
    }
}

impl std::error::Error for Error {}
