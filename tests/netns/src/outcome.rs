//! What a plugin's run came to.

use serde_json::Value;
use std::net::IpAddr;

/// The end of one run of a plugin.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run, for messages.
    pub what: String,
    /// Exit status; `None` if a signal ended it.
    pub exit: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// As printed.
    pub stdout: String,
    /// As printed.
    pub stderr: String,
}

impl Outcome {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.exit == Some(0)
    }

    /// Whether SIGKILL ended it.
    pub fn killed(&self) -> bool {
        self.signal == Some(9)
    }

    /// The document of a success; null if it printed nothing.
    ///
    /// # Panics
    /// When it failed, or printed anything but one document.
    pub fn ok(&self) -> Value {
        assert!(self.success(), "{self}");
        if self.stdout.trim().is_empty() { Value::Null } else { self.document() }
    }

    /// The document of a failure: an object with `code`, `msg`, `cniVersion`, perhaps `details`.
    ///
    /// # Panics
    /// When it succeeded, or printed anything but one error document.
    pub fn error(&self) -> Value {
        assert!(!self.success(), "{self}");
        assert!(self.exit.is_some(), "{self}");
        let doc = self.document();
        assert!(doc["code"].is_u64() && doc["msg"].is_string(), "{self}");
        doc
    }

    /// The error's number.
    ///
    /// # Panics
    /// As [`Outcome::error`].
    pub fn code(&self) -> u64 {
        self.error()["code"].as_u64().unwrap_or_default()
    }

    /// The error's message.
    ///
    /// # Panics
    /// As [`Outcome::error`].
    pub fn msg(&self) -> String {
        self.error()["msg"].as_str().unwrap_or_default().to_owned()
    }

    /// The one document on stdout.
    ///
    /// # Panics
    /// When there is none, or more than one.
    pub fn document(&self) -> Value {
        let mut stream = serde_json::Deserializer::from_str(&self.stdout).into_iter::<Value>();
        let first = match stream.next() {
            Some(Ok(doc)) => doc,
            Some(Err(e)) => panic!("stdout is not JSON ({e}): {self}"),
            None => panic!("stdout is empty: {self}"),
        };
        assert!(stream.next().is_none(), "more than one document on stdout: {self}");
        first
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = match (self.exit, self.signal) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        write!(f, "{}: {end}; stdout {:?}; stderr {:?}", self.what, self.stdout, self.stderr)
    }
}

/// The `index`th address of a result, in either form of the document.
///
/// # Panics
/// When there is none.
pub fn address(result: &Value, index: usize) -> IpAddr {
    let legacy = || result[["ip4", "ip6"][index.min(1)]]["ip"].as_str();
    let text = result["ips"][index]["address"].as_str().or_else(legacy);
    let text = text.unwrap_or_else(|| panic!("no address {index} in {result}"));
    let (ip, _) = text.split_once('/').unwrap_or((text, ""));
    ip.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A result with what differs from run to run replaced: hardware addresses by `MAC`, the
/// namespace's path by `POD`. For comparison with a golden file.
pub fn for_golden(result: &Value, pod: &crate::Pod) -> Value {
    let mut result = result.clone();
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        if interface["mac"].as_str().is_some_and(|mac| mac.len() == 17) {
            interface["mac"] = "MAC".into();
        }
        if interface["sandbox"].as_str() == pod.path().to_str() {
            interface["sandbox"] = "POD".into();
        }
    }
    result
}
