//! The six operations of the specification.

use cni_types::Version;
use std::fmt;

/// What `CNI_COMMAND` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Attach a container to a network, or change an attachment.
    Add,
    /// Undo ADD.
    Del,
    /// Verify that an attachment is as ADD left it.
    Check,
    /// Free what no valid attachment owns.
    Gc,
    /// Tell whether ADD can be served.
    Status,
    /// Tell the supported versions.
    Version,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Verb; 6] =
        [Verb::Add, Verb::Del, Verb::Check, Verb::Gc, Verb::Status, Verb::Version];

    /// The value of `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Gc => "GC",
            Verb::Status => "STATUS",
            Verb::Version => "VERSION",
        }
    }

    /// The verb with this `CNI_COMMAND`.
    pub fn parse(text: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|v| v.as_str() == text)
    }

    /// The first version of the specification that has the verb.
    pub fn since(self) -> Version {
        match self {
            Verb::Add | Verb::Del => Version::V0_1_0,
            Verb::Version => Version::V0_2_0,
            Verb::Check => Version::V0_4_0,
            Verb::Gc | Verb::Status => Version::V1_1_0,
        }
    }

    /// Whether the verb is about one attachment (and so has a container ID and an interface).
    pub fn is_per_attachment(self) -> bool {
        matches!(self, Verb::Add | Verb::Del | Verb::Check)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
