//! Error codes of the specification and the JSON document that carries one.

use crate::Version;
use serde_json::{Map, Value, json};
use std::fmt;

/// What the fallible functions of this crate and its users return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason for a failure, by the specification's number (CNI 1.1.0, "Error").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 1: the plugin does not speak the version that the configuration asks for.
    IncompatibleVersion,
    /// 2: a field of the configuration cannot be honoured.
    UnsupportedField,
    /// 3: the container is unknown or gone; the runtime owes no clean-up.
    UnknownContainer,
    /// 4: a `CNI_*` environment variable is missing or invalid.
    InvalidEnvironment,
    /// 5: reading or writing failed.
    Io,
    /// 6: the input is not JSON of the right shape.
    Decode,
    /// 7: the configuration is well formed but not valid.
    InvalidConfig,
    /// 8: the network namespace cannot be used (an addition of libcni).
    InvalidNetns,
    /// 11: a passing condition; the runtime should try again later.
    TryAgain,
    /// 50: STATUS: the plugin cannot serve ADD.
    NotAvailable,
    /// 51: STATUS: as 50, and existing containers may have limited connectivity.
    LimitedConnectivity,
    /// 100: a kernel object refused to be made, changed or removed.
    Kernel,
    /// 101: an address pool has no free address.
    PoolExhausted,
    /// 102: a host port, address or name is taken by another attachment.
    Conflict,
    /// 103: CHECK found the world different from the result of ADD.
    Drift,
    /// 104: a program that the plugin needs failed or is missing.
    Program,
    /// 105: a defect of the plugin itself.
    Internal,
    /// Any other code, as received from a plugin.
    Other(u32),
}

impl Code {
    const TABLE: [(Code, u32); 17] = [
        (Code::IncompatibleVersion, 1),
        (Code::UnsupportedField, 2),
        (Code::UnknownContainer, 3),
        (Code::InvalidEnvironment, 4),
        (Code::Io, 5),
        (Code::Decode, 6),
        (Code::InvalidConfig, 7),
        (Code::InvalidNetns, 8),
        (Code::TryAgain, 11),
        (Code::NotAvailable, 50),
        (Code::LimitedConnectivity, 51),
        (Code::Kernel, 100),
        (Code::PoolExhausted, 101),
        (Code::Conflict, 102),
        (Code::Drift, 103),
        (Code::Program, 104),
        (Code::Internal, 105),
    ];

    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Code::Other(n) => n,
            named => Code::TABLE.iter().find(|(c, _)| *c == named).map_or(0, |(_, n)| *n),
        }
    }

    /// The code with this number on the wire.
    pub fn from_number(number: u32) -> Code {
        Code::TABLE.iter().find(|(_, n)| *n == number).map_or(Code::Other(number), |(c, _)| *c)
    }
}

/// A failure with a code, a subject and a cause.
///
/// `msg` names the subject and the cause in one line; `details` says what to do, or lists facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind of failure.
    pub code: Code,
    /// Subject and cause, one line.
    pub msg: String,
    /// What to do, or further facts; may be empty.
    pub details: String,
}

impl Error {
    /// An error without details. `msg` reads "subject: cause".
    pub fn new(code: Code, msg: impl Into<String>) -> Error {
        Error { code, msg: msg.into(), details: String::new() }
    }

    /// The same error with `details`.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Error {
        Error { details: details.into(), ..self }
    }

    /// The same error with `subject` in front of its message.
    #[must_use]
    pub fn context(self, subject: impl fmt::Display) -> Error {
        Error { msg: format!("{subject}: {}", self.msg), ..self }
    }

    /// An I/O failure on `subject` (a path, a socket).
    pub fn io(subject: impl fmt::Display, cause: &std::io::Error) -> Error {
        Error::new(Code::Io, format!("{subject}: {cause}"))
    }

    /// One error out of several: the first one's code, all messages.
    /// `None` if there are none.
    pub fn join(errors: Vec<Error>) -> Option<Error> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        for other in errors {
            first.msg = format!("{}; {}", first.msg, other.msg);
            if !other.details.is_empty() {
                let gap = if first.details.is_empty() { "" } else { "; " };
                first.details = format!("{}{gap}{}", first.details, other.details);
            }
        }
        Some(first)
    }

    /// The outcome of several things that were all done: one error out of all there were.
    ///
    /// # Errors
    /// As [`Error::join`].
    pub fn collect(outcomes: impl IntoIterator<Item = Result<(), Error>>) -> Result<(), Error> {
        Error::join(outcomes.into_iter().filter_map(Result::err).collect()).map_or(Ok(()), Err)
    }

    /// The error document, as a plugin prints it.
    pub fn to_value(&self, version: &str) -> Value {
        let mut doc = json!({ "cniVersion": version, "code": self.code.number(), "msg": self.msg });
        if !self.details.is_empty() {
            doc["details"] = Value::from(self.details.as_str());
        }
        doc
    }

    /// Reads an error document; `None` if `doc` is not one (no numeric `code` and no `msg`).
    pub fn from_value(doc: &Value) -> Option<Error> {
        let map: &Map<String, Value> = doc.as_object()?;
        let code = map.get("code")?.as_u64()?;
        let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Error {
            code: Code::from_number(u32::try_from(code).unwrap_or(u32::MAX)),
            msg: text("msg"),
            details: text("details"),
        })
    }

    /// As [`Error::to_value`] with a known version.
    pub fn to_document(&self, version: Version) -> Value {
        self.to_value(version.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.msg)?;
        if !self.details.is_empty() {
            write!(f, " ({})", self.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for (code, number) in Code::TABLE {
            assert_eq!(code.number(), number);
            assert_eq!(Code::from_number(number), code);
        }
        assert_eq!(Code::from_number(999), Code::Other(999));
        assert_eq!(Code::Other(999).number(), 999);
    }

    #[test]
    fn a_document_reads_back() {
        let error = Error::new(Code::Conflict, "host port tcp/80: taken").with_details("by pod a");
        let doc = error.to_document(Version::V1_0_0);
        assert_eq!(doc["cniVersion"], "1.0.0");
        assert_eq!(Error::from_value(&doc), Some(error));
        assert_eq!(Error::from_value(&serde_json::json!({"ips": []})), None);
    }

    #[test]
    fn joined_errors_keep_all_messages() {
        let one = Error::new(Code::Io, "a: b");
        let two = Error::new(Code::Drift, "c: d").with_details("e");
        let all = Error::join(vec![one, two]).expect("two errors");
        assert_eq!(all.code, Code::Io);
        assert_eq!(all.msg, "a: b; c: d");
        assert_eq!(all.details, "e");
        assert_eq!(Error::join(Vec::new()), None);
    }
}
