//! What can go wrong, in words that help the operator.

use rustix::io::Errno;
use std::path::Path;

/// A failure: its kind, what it is about, and its cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {cause}")]
pub struct Error {
    /// Kind, for callers that must tell failures apart.
    pub kind: Kind,
    /// What was worked on: a key of the configuration, a path, a container.
    pub subject: String,
    /// What is wrong, and where there is one, what to do.
    pub cause: String,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The configuration or an argument is wrong; nothing was done.
    Invalid,
    /// There is no such container.
    NotFound,
    /// A container of this name exists.
    Exists,
    /// The container is not in a state that allows this.
    State,
    /// This host or this program cannot do what is asked.
    Unsupported,
    /// A hook failed.
    Hook,
    /// Something took longer than its deadline.
    Timeout,
    /// The kernel, or another program, refused.
    System(Option<Errno>),
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure of this kind.
    pub fn new(kind: Kind, subject: impl Into<String>, cause: impl Into<String>) -> Error {
        Error { kind, subject: subject.into(), cause: cause.into() }
    }

    /// A wrong configuration or argument.
    pub fn invalid(subject: impl Into<String>, cause: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, subject, cause)
    }

    /// A call that the kernel refused.
    pub fn errno(subject: impl Into<String>, what: &str, errno: Errno) -> Error {
        Error::new(Kind::System(Some(errno)), subject, format!("{what}: {}", words(errno)))
    }

    /// A file that could not be worked on.
    pub fn path(path: &Path, what: &str, error: &std::io::Error) -> Error {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        let cause = errno.map_or_else(|| error.to_string(), words);
        Error::new(Kind::System(errno), path.display().to_string(), format!("{what}: {cause}"))
    }

    /// The same failure, told of a larger thing.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Error {
        self.subject = format!("{outer}: {}", self.subject);
        self
    }
}

/// The kernel's answer in lower case and without its number: callers search for these words.
pub(crate) fn words(errno: Errno) -> String {
    let text = errno.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

impl From<runtime_spec::ParseError> for Error {
    fn from(error: runtime_spec::ParseError) -> Error {
        let subject = if error.path.is_empty() { "document" } else { error.path.as_str() };
        Error::invalid(subject, error.cause)
    }
}

impl From<rootfs::Error> for Error {
    fn from(error: rootfs::Error) -> Error {
        let kind = match error.kind {
            rootfs::ErrorKind::Kernel(errno) => Kind::System(Some(errno)),
            rootfs::ErrorKind::Invalid | rootfs::ErrorKind::Refused => Kind::Invalid,
        };
        let cause = match &error.hint {
            Some(hint) => format!("{}: {hint}", error.cause),
            None => error.cause.clone(),
        };
        Error::new(kind, error.subject, cause)
    }
}
