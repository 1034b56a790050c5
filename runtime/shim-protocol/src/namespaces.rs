//! The namespaces of a pod.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Which namespaces a pod gets of its own. Those not wanted are the node's, or given by path to each
/// container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeNamespaces {
    /// Where to pin a new network namespace, loopback up; none is made when absent.
    #[serde(default)]
    pub net: Option<PathBuf>,
    /// Make an IPC namespace.
    #[serde(default)]
    pub ipc: bool,
    /// Make a UTS namespace.
    #[serde(default)]
    pub uts: bool,
    /// Make a PID namespace that all containers share, with a first process that reaps orphans.
    #[serde(default)]
    pub pid: bool,
    /// Make a user namespace, which owns the others; none when absent.
    #[serde(default)]
    pub user: Option<IdMappings>,
    /// Name of the host in the new UTS namespace.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Kernel parameters to set in the new namespaces: names with dots, and values.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
}

/// What users and groups of a user namespace are on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMappings {
    /// Users.
    pub uids: Vec<IdMapping>,
    /// Groups.
    pub gids: Vec<IdMapping>,
}

/// A range of IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First ID inside.
    pub container: u32,
    /// First ID on the node.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// Kinds of namespaces that a pod may have of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// Network.
    Net,
    /// Interprocess communication.
    Ipc,
    /// Names of the host.
    Uts,
    /// Process numbers.
    Pid,
    /// Users.
    User,
}

/// The namespaces that were made, and where they are pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Paths to join them by.
    pub paths: BTreeMap<Namespace, PathBuf>,
    /// First process of the shared PID namespace, as the node sees it.
    #[serde(default)]
    pub init: Option<i32>,
}
