//! Reading documents: bounded, and with the path of what is wrong.

use crate::{Process, Resources, Spec};
use serde::de::DeserializeOwned;
use std::fmt;

/// The largest document that is read, in bytes. Real ones have some ten thousand.
pub const DOCUMENT_MAX: usize = 8 << 20;

/// Why a document cannot be used: where in it, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Path of the key, such as `linux.namespaces[2].type`; empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub cause: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() || self.path == "." {
            return f.write_str(&self.cause);
        }
        write!(f, "{}: {}", self.path, self.cause)
    }
}

impl std::error::Error for ParseError {}

fn document<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ParseError> {
    if bytes.len() > DOCUMENT_MAX {
        let cause = format!("has {} bytes; at most {DOCUMENT_MAX} are read", bytes.len());
        return Err(ParseError { path: String::new(), cause });
    }
    // The quick way first: the path of a failure costs a second reading only where there is one.
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| ParseError {
        path: error.path().to_string(),
        cause: error.inner().to_string(),
    })?;
    reader.end().map_err(|error| ParseError { path: String::new(), cause: error.to_string() })?;
    Ok(value)
}

impl Spec {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// The document is too large, is no JSON, or a value has a wrong type or name.
    pub fn from_json(bytes: &[u8]) -> Result<Spec, ParseError> {
        document(bytes)
    }
}

impl Process {
    /// Reads the process that `exec --process` adds.
    ///
    /// # Errors
    /// As for [`Spec::from_json`].
    pub fn from_json(bytes: &[u8]) -> Result<Process, ParseError> {
        document(bytes)
    }
}

impl Resources {
    /// Reads the limits that `update --resources` sets.
    ///
    /// # Errors
    /// As for [`Spec::from_json`].
    pub fn from_json(bytes: &[u8]) -> Result<Resources, ParseError> {
        document(bytes)
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
