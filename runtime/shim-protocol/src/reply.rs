//! What the shim answers.

use crate::call::is_zero;
use crate::{Error, Exit, Namespaces};
use serde::{Deserialize, Serialize};

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Number of the request.
    pub id: u64,
    /// How many descriptors are its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fds: usize,
    /// How it went.
    pub result: Result<Answer, Error>,
}

/// Answers, by what was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// The shim itself.
    Shim(Shim),
    /// Namespaces that were made.
    Namespaces(Namespaces),
    /// A container that was made.
    Created(Created),
    /// A process that was added.
    Executed(Executed),
    /// A container.
    Container(Box<ContainerState>),
    /// All containers.
    Containers(Vec<ContainerState>),
}

/// What a shim says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shim {
    /// The version chosen, for the rest of the connection.
    pub version: u32,
    /// Name of the pod.
    pub id: String,
    /// Number of the shim's process.
    pub pid: i32,
    /// Release of the shim.
    #[serde(default)]
    pub release: String,
    /// Namespaces that it has made.
    #[serde(default)]
    pub namespaces: Option<Namespaces>,
}

/// A container that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Its first process, as the node sees it.
    pub pid: i32,
    /// What was odd in its configuration but harmless.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A process that was added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// Its number, as the node sees it.
    pub pid: i32,
}

/// Where in its life a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is being made.
    #[default]
    Creating,
    /// Its process waits to be started.
    Created,
    /// Its process was started.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its process has ended.
    Stopped,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Its name.
    pub id: String,
    /// Where in its life it is.
    pub phase: Phase,
    /// Its first process, as the node sees or saw it; 0 when there never was one.
    pub pid: i32,
    /// When its process was started, in nanoseconds since 1970; 0 when it never was.
    #[serde(default)]
    pub started_at: i64,
    /// Its end.
    #[serde(default)]
    pub exit: Option<Exit>,
    /// Names of added processes that run.
    #[serde(default)]
    pub execs: Vec<String>,
    /// Bytes of output that are not in the log, because it was full or could not be written.
    #[serde(default)]
    pub log_lost: u64,
}
