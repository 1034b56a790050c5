//! What can go wrong, in words for the parent and in twelve bytes for the child.

use rustix::io::Errno;

/// A configuration that cannot be planned, or a step that failed, with its subject and cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {cause}{}", hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default())]
pub struct Error {
    /// Kind, for those who must tell failures apart.
    pub kind: ErrorKind,
    /// What was worked on, such as `mounts[3]: /proc`.
    pub subject: String,
    /// What is wrong.
    pub cause: String,
    /// What an operator can do.
    pub hint: Option<String>,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The configuration is wrong; nothing was done.
    Invalid,
    /// The configuration or the image would have led outside the container; refused.
    Refused,
    /// The kernel refused a call.
    Kernel(Errno),
}

impl Error {
    pub(crate) fn invalid(subject: impl Into<String>, cause: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Invalid, subject: subject.into(), cause: cause.into(), hint: None }
    }

    pub(crate) fn refused(subject: impl Into<String>, cause: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Refused, subject: subject.into(), cause: cause.into(), hint: None }
    }

    pub(crate) fn kernel(subject: impl Into<String>, what: &str, errno: Errno) -> Error {
        let cause = format!("{what}: {errno}");
        Error { kind: ErrorKind::Kernel(errno), subject: subject.into(), cause, hint: None }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Error {
        Error { hint: Some(hint.into()), ..self }
    }
}
