//! Versions of the CNI specification.

use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A released version of the CNI specification; ordered from old to new.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Version {
    /// The first release; what an absent or empty `cniVersion` means.
    #[default]
    #[serde(rename = "0.1.0")]
    V0_1_0,
    /// Adds VERSION.
    #[serde(rename = "0.2.0")]
    V0_2_0,
    /// Interfaces and lists of addresses in results.
    #[serde(rename = "0.3.0")]
    V0_3_0,
    /// Configuration lists.
    #[serde(rename = "0.3.1")]
    V0_3_1,
    /// Adds CHECK; DEL is given `prevResult`.
    #[serde(rename = "0.4.0")]
    V0_4_0,
    /// Removes `ips[].version` and single-plugin configurations.
    #[serde(rename = "1.0.0")]
    V1_0_0,
    /// Adds GC and STATUS, route and interface attributes.
    #[serde(rename = "1.1.0")]
    V1_1_0,
}

/// All released versions, oldest first.
pub const ALL_VERSIONS: [Version; 7] = [
    Version::V0_1_0,
    Version::V0_2_0,
    Version::V0_3_0,
    Version::V0_3_1,
    Version::V0_4_0,
    Version::V1_0_0,
    Version::V1_1_0,
];

impl Version {
    /// The newest version this crate speaks.
    pub const LATEST: Version = Version::V1_1_0;

    /// The version as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_1_0 => "0.1.0",
            Version::V0_2_0 => "0.2.0",
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// Reads a `cniVersion` value; an empty one means 0.1.0.
    ///
    /// # Errors
    /// [`Code::IncompatibleVersion`] for a version that is not in [`ALL_VERSIONS`].
    pub fn parse(text: &str) -> Result<Version> {
        if text.is_empty() {
            return Ok(Version::V0_1_0);
        }
        ALL_VERSIONS.into_iter().find(|v| v.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = ALL_VERSIONS.iter().map(|v| v.as_str()).collect();
            Error::new(
                Code::IncompatibleVersion,
                format!("cniVersion {text:?}: not a supported version of the specification"),
            )
            .with_details(format!("supported versions: {}", known.join(", ")))
        })
    }

    /// Whether this version has the CHECK verb and gives DEL a `prevResult`.
    pub fn has_check(self) -> bool {
        self >= Version::V0_4_0
    }

    /// Whether this version has the GC and STATUS verbs.
    pub fn has_gc(self) -> bool {
        self >= Version::V1_1_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
