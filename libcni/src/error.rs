//! The failure of an operation: which network, which plugin, which verb, and why.

use cni_exec::Verb;
use cni_types::Code;
use std::fmt;
use std::time::Duration;

/// What the fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where a failure arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A configuration file or list cannot be used.
    Config,
    /// There is no configuration of that name.
    NoNetwork,
    /// What the caller asked for is invalid, or does not fit the state of the attachment.
    Request,
    /// The plugin's executable was not found.
    NoPlugin,
    /// The plugin answered with an error document.
    Plugin,
    /// The plugin died, could not be started, or printed what is no answer.
    Broken,
    /// The plugin did not answer in time and was killed.
    Timeout,
    /// The caller went away before the operation was complete.
    Cancelled,
    /// The record of an attachment cannot be read or written.
    Cache,
    /// A lock or another file of the run directory cannot be used.
    State,
}

/// A failure of one operation, with everything that failed beside it.
///
/// Its [`fmt::Display`] form is one line: network, plugin, verb, cause, what to do, and the same
/// for each of [`Error::also`].
#[derive(Clone, Debug)]
pub struct Error(Box<Report>);

#[derive(Clone, Debug)]
struct Report {
    kind: Kind,
    network: String,
    plugin: String,
    verb: Option<Verb>,
    cause: cni_types::Error,
    stderr: String,
    also: Vec<Error>,
}

impl Error {
    /// A failure not yet tied to a network.
    pub fn new(kind: Kind, cause: cni_types::Error) -> Error {
        Error(Box::new(Report {
            kind,
            network: String::new(),
            plugin: String::new(),
            verb: None,
            cause,
            stderr: String::new(),
            also: Vec::new(),
        }))
    }

    pub(crate) fn io(kind: Kind, subject: impl fmt::Display, cause: &std::io::Error) -> Error {
        Error::new(kind, cni_types::Error::io(subject, cause))
    }

    /// The plugin was killed at its deadline.
    pub(crate) fn timeout(deadline: Duration) -> Error {
        let seconds = deadline.as_secs_f64();
        let cause = cni_types::Error::new(
            Code::Program,
            format!("gave no answer within {seconds} s and was killed with its children"),
        );
        Error::new(Kind::Timeout, cause.with_details(
            "find out what the plugin waits for (a daemon, a lock, the API server), or raise the deadline",
        ))
    }

    #[must_use]
    pub(crate) fn network(mut self, name: impl fmt::Display) -> Error {
        if self.0.network.is_empty() {
            self.0.network = name.to_string();
        }
        self
    }

    #[must_use]
    pub(crate) fn plugin(mut self, plugin: impl fmt::Display) -> Error {
        self.0.plugin = plugin.to_string();
        self
    }

    #[must_use]
    pub(crate) fn verb(mut self, verb: Verb) -> Error {
        self.0.verb = self.0.verb.or(Some(verb));
        self
    }

    #[must_use]
    pub(crate) fn stderr(mut self, stderr: &[u8]) -> Error {
        self.0.stderr = tail(stderr);
        self
    }

    #[must_use]
    pub(crate) fn and(mut self, others: impl IntoIterator<Item = Error>) -> Error {
        self.0.also.extend(others);
        self
    }

    /// One error out of several: the first, with the others beside it. `None` if there are none.
    pub(crate) fn join(errors: Vec<Error>) -> Option<Error> {
        let mut errors = errors.into_iter();
        let first = errors.next()?;
        Some(first.and(errors))
    }

    /// Where the failure arose.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The network's name; empty if the failure is not about one network.
    pub fn network_name(&self) -> &str {
        &self.0.network
    }

    /// The plugin's type; empty if the failure did not arise in a plugin.
    pub fn plugin_type(&self) -> &str {
        &self.0.plugin
    }

    /// The verb that was under way.
    pub fn failed_verb(&self) -> Option<Verb> {
        self.0.verb
    }

    /// Code, message and details, as the plugin gave them where it gave any.
    pub fn cause(&self) -> &cni_types::Error {
        &self.0.cause
    }

    /// The code of [`Error::cause`].
    pub fn code(&self) -> Code {
        self.0.cause.code
    }

    /// The end of what the plugin wrote to its standard error.
    pub fn plugin_stderr(&self) -> &str {
        &self.0.stderr
    }

    /// Further failures of the same operation: of the undoing of a failed ADD, of the other
    /// attachments and plugins of a GC.
    pub fn also(&self) -> &[Error] {
        &self.0.also
    }

    /// The subject of the failure: network, plugin and verb, as far as they are known.
    pub fn subject(&self) -> String {
        let report = &self.0;
        let mut parts = Vec::new();
        if !report.network.is_empty() {
            parts.push(format!("network {:?}", report.network));
        }
        match (report.plugin.as_str(), report.verb) {
            ("", None) => {}
            ("", Some(verb)) => parts.push(verb.to_string()),
            (plugin, None) => parts.push(format!("plugin {plugin:?}")),
            (plugin, Some(verb)) => parts.push(format!("plugin {plugin:?} {verb}")),
        }
        parts.join(": ")
    }
}

/// The last 4 KiB of `bytes` as text.
pub(crate) fn tail(bytes: &[u8]) -> String {
    const KEEP: usize = 4096;
    let from = bytes.len().saturating_sub(KEEP);
    String::from_utf8_lossy(&bytes[from..]).trim().to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.subject();
        if !subject.is_empty() {
            write!(f, "{subject}: ")?;
        }
        write!(f, "{}", self.0.cause)?;
        if !self.0.stderr.is_empty() {
            write!(f, " [stderr: {}]", self.0.stderr.replace('\n', " | "))?;
        }
        for other in &self.0.also {
            write!(f, "; also: {other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_names_everything() {
        let cause = cni_types::Error::new(Code::TryAgain, "lock: busy").with_details("wait");
        let undo = Error::timeout(Duration::from_secs(60)).plugin("portmap").verb(Verb::Del);
        let error = Error::new(Kind::Plugin, cause)
            .plugin("bridge")
            .verb(Verb::Add)
            .network("podnet")
            .stderr(b"one\ntwo\n")
            .and([undo.network("podnet")]);
        assert_eq!(
            error.to_string(),
            "network \"podnet\": plugin \"bridge\" ADD: lock: busy (wait) [stderr: one | two]; \
             also: network \"podnet\": plugin \"portmap\" DEL: gave no answer within 60 s and was \
             killed with its children (find out what the plugin waits for (a daemon, a lock, the \
             API server), or raise the deadline)"
        );
        assert_eq!(error.also()[0].kind(), Kind::Timeout);
    }
}
