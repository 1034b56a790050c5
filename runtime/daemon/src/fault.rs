//! Why the daemon cannot go on, for people.

use std::fmt;
use std::io::Write;

/// A failure: about what, why, and what to do.
#[derive(Debug)]
pub(crate) struct Fault {
    subject: String,
    cause: String,
    advice: String,
}

impl Fault {
    pub(crate) fn new(subject: impl fmt::Display, cause: impl fmt::Display) -> Fault {
        Fault { subject: subject.to_string(), cause: cause.to_string(), advice: String::new() }
    }

    pub(crate) fn with_advice(mut self, advice: impl fmt::Display) -> Fault {
        self.advice = advice.to_string();
        self
    }

    /// On standard error, whatever became of the log.
    pub(crate) fn print(&self) {
        // Without a standard error there is nobody to tell.
        let _told = writeln!(std::io::stderr().lock(), "podloomd: {self}");
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.cause)?;
        if !self.advice.is_empty() {
            write!(f, " ({})", self.advice)?;
        }
        Ok(())
    }
}
