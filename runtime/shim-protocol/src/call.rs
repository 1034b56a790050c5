//! What the daemon asks.

use crate::{Attach, Create, Error, Exec, Kind, MakeNamespaces};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// One frame from the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Number by which the reply names it; chosen by the daemon.
    pub id: u64,
    /// How many descriptors are its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fds: usize,
    /// The call, understood apart so that an unknown one can be answered.
    pub call: Value,
}

pub(crate) fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// An operation and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Call {
    /// The first of a connection. Answered by [`Shim`](crate::Answer::Shim).
    Hello {
        /// Versions that the daemon speaks.
        versions: Vec<u32>,
    },
    /// Makes and pins the namespaces of the pod. Answered by
    /// [`Namespaces`](crate::Answer::Namespaces).
    MakeNamespaces(MakeNamespaces),
    /// Sets kernel parameters in the pod's namespaces.
    SetSysctls {
        /// Names with dots, and values.
        sysctls: BTreeMap<String, String>,
    },
    /// Makes a container whose process waits. Answered by [`Created`](crate::Answer::Created).
    Create(Create),
    /// Starts the process of a container.
    Start {
        /// The container.
        id: String,
    },
    /// Sends a signal.
    Kill {
        /// The container.
        id: String,
        /// Number of the signal.
        signal: i32,
        /// To which of its processes.
        #[serde(default)]
        whom: Whom,
    },
    /// Removes a container that has ended, and its exit record. One that is not there is no error.
    /// Forced, it waits for one that is being made, and removes that then.
    Delete {
        /// The container.
        id: String,
        /// Kill it first when it runs.
        #[serde(default)]
        force: bool,
    },
    /// Changes limits.
    Update {
        /// The container.
        id: String,
        /// `linux.resources` of the runtime specification.
        resources: Value,
    },
    /// Freezes all processes of a container.
    Pause {
        /// The container.
        id: String,
    },
    /// Lets them run again.
    Resume {
        /// The container.
        id: String,
    },
    /// Adds a process to a container. Descriptors: those of [`Streams`](crate::Streams), in its order.
    /// Answered by [`Executed`](crate::Answer::Executed), with the terminal's master if it has one.
    Exec(Exec),
    /// Connects further streams to a container's own. Descriptors: those of
    /// [`Streams`](crate::Streams), in its order. Answered when the streams are connected.
    Attach(Attach),
    /// Sets the size of a container's terminal. That of a process that was added is the daemon's own.
    Resize {
        /// The container.
        id: String,
        /// The size.
        size: Size,
    },
    /// Ends the standard input of a container.
    CloseStdin {
        /// The container.
        id: String,
    },
    /// Opens the log anew, at its path; no line is lost.
    ReopenLog {
        /// The container.
        id: String,
    },
    /// All containers. Answered by [`Containers`](crate::Answer::Containers).
    List,
    /// One container. Answered by [`Container`](crate::Answer::Container).
    State {
        /// The container.
        id: String,
    },
    /// Ends the shim; refused while a container runs, unless forced.
    Shutdown {
        /// Kill and remove all containers first.
        #[serde(default)]
        force: bool,
    },
}

/// To which processes a signal goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// The first process of the container.
    #[default]
    First,
    /// All processes of the container.
    All,
    /// A process that was added.
    Exec(String),
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

impl Request {
    /// A request with this number of descriptors.
    ///
    /// # Errors
    /// The call cannot be written as JSON.
    pub fn new(id: u64, fds: usize, call: &Call) -> Result<Request, Error> {
        let call = serde_json::to_value(call)
            .map_err(|error| Error::new(Kind::Internal, "request", error.to_string()))?;
        Ok(Request { id, fds, call })
    }

    /// The call.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for an operation that this release does not know, [`Kind::Invalid`] for
    /// wrong arguments.
    pub fn call(self) -> Result<Call, Error> {
        let name = self.call.get("op").and_then(Value::as_str).unwrap_or_default().to_owned();
        serde_json::from_value(self.call).map_err(|error| {
            let text = error.to_string();
            if text.starts_with("unknown variant") && text.contains(&format!("`{name}`")) {
                Error::new(Kind::Unsupported, name, "the shim does not know this operation")
                    .advise("it was started by an older release; make the pod anew")
            } else {
                Error::new(Kind::Invalid, name, text)
            }
        })
    }
}
