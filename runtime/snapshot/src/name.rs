//! Names of snapshots.

use crate::error::{Error, Kind};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Name of a snapshot: the chain id of layers, or what the caller chose for a container. 1 to 200
/// printable ASCII characters without space.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Kind::Invalid`].
    pub fn new(name: impl Into<String>) -> Result<Name, Error> {
        let name = name.into();
        let valid = (1..=200).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_graphic());
        if valid {
            return Ok(Name(name));
        }
        let shown: String = name.chars().take(40).collect();
        let detail = "not a name; want 1 to 200 printable ASCII characters";
        Err(Error::new(Kind::Invalid, format!("{shown:?}"), detail))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&content_digest::Digest> for Name {
    fn from(chain_id: &content_digest::Digest) -> Name {
        Name(chain_id.to_string())
    }
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(name: String) -> Result<Name, Error> {
        Name::new(name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
