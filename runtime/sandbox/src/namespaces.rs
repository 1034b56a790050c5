//! The namespaces that the containers of a pod join.

use crate::record::Record;
use crate::wish::{PidMode, Spaces};
use crate::{Result, wish};
use cri_api::v1::PodSandboxConfig;
use shim_client::protocol::NAMESPACES;
use std::path::{Path, PathBuf};

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

impl Namespaces {
    /// Those of a recorded pod.
    ///
    /// # Errors
    /// As when the pod was made.
    pub(crate) fn of(record: &Record, config: &PodSandboxConfig) -> Result<Namespaces> {
        let spaces = wish::spaces_of(config)?;
        let pin = |space: &str| Path::new(&record.run_dir).join(NAMESPACES).join(space);
        let made = |space: &str| record.has(space).then(|| pin(space));
        Ok(Namespaces {
            net: record.netns(),
            ipc: made("ipc"),
            uts: made("uts"),
            pid: match spaces.pid {
                PidMode::Container => Pid::Container,
                PidMode::Pod => Pid::Pod(pin("pid")),
                PidMode::Node => Pid::Node,
            },
            user: spaces.user.map(|ids| User { path: pin("user"), uids: ids.uids, gids: ids.gids }),
        })
    }
}

impl Spaces {
    /// Names of the namespaces that the shim pins below its directory.
    pub(crate) fn of_shim(&self) -> Vec<String> {
        let wanted = [
            ("ipc", self.ipc),
            ("uts", self.net),
            ("pid", self.pid == PidMode::Pod),
            ("user", self.user.is_some()),
        ];
        wanted.into_iter().filter(|(_, own)| *own).map(|(name, _)| name.to_owned()).collect()
    }
}
