//! The namespaces that the containers of a pod join.

use std::path::PathBuf;

/// Where each namespace of a pod is. `None`: the node's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// The network namespace.
    pub net: Option<PathBuf>,
    /// The IPC namespace.
    pub ipc: Option<PathBuf>,
    /// The UTS namespace; the node's where the network is the node's.
    pub uts: Option<PathBuf>,
    /// Whose processes a container sees.
    pub pid: Pid,
    /// The user namespace, which owns the others.
    pub user: Option<User>,
}

/// Whose processes a container sees, unless it says otherwise itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pid {
    /// Its own: each container has a namespace.
    #[default]
    Container,
    /// Those of the pod; the shim's own init is process 1.
    Pod(PathBuf),
    /// Those of the node.
    Node,
}

/// A pod's user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Where it is.
    pub path: PathBuf,
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
}

/// Ids inside a user namespace and what they are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub length: u32,
}
