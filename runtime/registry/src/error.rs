//! What can fail, in kinds that a caller can act on.

use std::fmt;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was; stable, for callers that decide and for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The registry has no such image, manifest or blob.
    NotFound,
    /// No credentials, or the registry does not take them.
    Unauthorized,
    /// The credentials are good but do not allow this.
    Denied,
    /// Text or a document is malformed.
    Invalid,
    /// Well-formed, but this client does not take it, for safety.
    Refused,
    /// More bytes than the limit allows.
    TooLarge,
    /// The transfer was slower than the configured minimum.
    TooSlow,
    /// A deadline passed.
    Timeout,
    /// The registry asked to come back later than this client is ready to wait.
    RateLimited,
    /// The registry cannot be reached, broke the transfer or answered with a server error.
    Unavailable,
    /// The TLS handshake or a certificate failed.
    Tls,
    /// The bytes are not what their digest or size says.
    Mismatch,
    /// A file of the operator's is wrong: `hosts.toml`, a certificate, `config.json`.
    Config,
}

impl Kind {
    /// A short lower-case word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Tls => "tls",
            Self::Mismatch => "mismatch",
            Self::Config => "config",
        }
    }

    /// Whether the same request can succeed a little later, with nothing changed by the operator.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::TooSlow | Self::Timeout | Self::RateLimited | Self::Unavailable)
    }
}

/// A failure: its kind, what it is about, what happened, why, and what to do about it.
pub struct Error(Box<Parts>);

struct Parts {
    kind: Kind,
    subject: String,
    message: String,
    cause: Option<String>,
    advice: Option<&'static str>,
}

impl Error {
    /// An error about `subject`: a reference, a host, a file with its key.
    pub fn new(kind: Kind, subject: impl Into<String>, message: impl Into<String>) -> Self {
        let (subject, message) = (subject.into(), message.into());
        Self(Box::new(Parts { kind, subject, message, cause: None, advice: None }))
    }

    /// Adds why it happened, with the whole chain below `cause`.
    #[must_use]
    pub fn because(mut self, cause: &dyn std::error::Error) -> Self {
        let mut text = cause.to_string();
        let mut next = cause.source();
        while let Some(below) = next {
            let line = below.to_string();
            // Some libraries repeat their source in their own text.
            if !text.contains(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            next = below.source();
        }
        self.0.cause = Some(text);
        self
    }

    /// Adds a cause that is only known as text.
    #[must_use]
    pub fn because_of(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds what the operator can do.
    #[must_use]
    pub fn advise(mut self, advice: &'static str) -> Self {
        self.0.advice = Some(advice);
        self
    }

    /// Puts a wider subject in front: the reference before the host, the document before the field.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        if self.0.subject.is_empty() {
            self.0.subject = outer.to_owned();
        } else if self.0.subject != outer && !self.0.subject.starts_with(&format!("{outer}: ")) {
            self.0.subject = format!("{outer}: {}", self.0.subject);
        }
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What the error is about.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// What to do, where this crate knows. The error's own text leaves it out.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        self.0.advice
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.subject.is_empty() {
            write!(f, "{}: ", self.0.subject)?;
        }
        f.write_str(&self.0.message)?;
        match &self.0.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.kind.as_str())
    }
}

impl std::error::Error for Error {}

/// Text from outside, made fit for one line of an error: bounded, no control characters.
pub(crate) fn quote(text: &str) -> String {
    const MAX: usize = 96;
    let mut shown: String = text.chars().take(MAX).flat_map(char::escape_default).collect();
    if text.chars().nth(MAX).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}
