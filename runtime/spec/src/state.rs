//! The state of a container: runtime.md.

use crate::wire::nullable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `state` prints and hooks read (runtime.md, State).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification.
    pub oci_version: String,
    /// The container.
    pub id: String,
    /// Where in its life it is.
    pub status: Status,
    /// Process ID as the host sees it; absent or 0 when stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Annotations of the configuration.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Where in its life a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// Being made.
    #[serde(rename = "creating")]
    Creating,
    /// Made; its process was not started.
    #[serde(rename = "created")]
    Created,
    /// Its process runs.
    #[serde(rename = "running")]
    Running,
    /// Its process ended.
    #[serde(rename = "stopped")]
    Stopped,
    /// Its processes are frozen.
    #[serde(rename = "paused")]
    Paused,
}

impl Status {
    /// All values.
    pub const ALL: &'static [Status] =
        &[Status::Creating, Status::Created, Status::Running, Status::Stopped, Status::Paused];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Stopped => "stopped",
            Status::Paused => "paused",
        }
    }
}

/// What a seccomp agent is told beside the descriptor (config-linux.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState {
    /// Version of the specification.
    pub oci_version: String,
    /// Names of the descriptors sent along.
    pub fds: Vec<String>,
    /// The process.
    pub pid: i32,
    /// `listenerMetadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// State of the container.
    pub state: State,
}
