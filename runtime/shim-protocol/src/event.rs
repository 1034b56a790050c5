//! What the shim tells unasked.

use crate::Reply;
use serde::{Deserialize, Serialize};

/// One frame from the shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Message {
    /// An answer.
    Reply(Reply),
    /// An event.
    Event {
        /// What happened.
        event: Event,
    },
    /// Something that this release does not know, to be ignored.
    Unknown(serde_json::Value),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A process ended. Of a container's first process there is a record by now, and its log is
    /// complete.
    Exited(Exit),
    /// The kernel killed a process of the container because memory ran out.
    Oom {
        /// The container.
        id: String,
    },
    /// The first process of the pod's shared PID namespace ended, and with it all containers.
    InitExited {
        /// Its exit status.
        code: i32,
    },
}

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The container.
    pub id: String,
    /// The process that was added; the container's first one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_id: Option<String>,
    /// Its number, as the node saw it.
    #[serde(default)]
    pub pid: i32,
    /// Its exit status, or 128 and the signal.
    pub code: i32,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The kernel killed a process of the container because memory ran out.
    #[serde(default)]
    pub oom: bool,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}
