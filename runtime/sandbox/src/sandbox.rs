//! One pod, as others see it.

use crate::namespaces::Namespaces;
use crate::network::Network;
use cri_api::v1::{LinuxContainerResources, PodSandboxConfig, PodSandboxMetadata};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Whether containers can run in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They can.
    Ready,
    /// They cannot: the pod is stopped, its shim was lost, or the node has been booted since.
    NotReady,
}

/// Files of a pod that its containers have mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// For `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// For `/etc/hostname`.
    pub hostname: PathBuf,
    /// For `/etc/hosts`, unless the container has a mount there.
    pub hosts: PathBuf,
    /// For `/dev/shm`: a file system in memory, or the node's.
    pub shm: PathBuf,
}

/// What never changes in a pod's life.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) id: String,
    pub(crate) config: PodSandboxConfig,
    pub(crate) metadata: PodSandboxMetadata,
    pub(crate) handler: String,
    pub(crate) created_at: i64,
    pub(crate) namespaces: Namespaces,
    pub(crate) files: Files,
    pub(crate) run_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) hostname: String,
    pub(crate) cgroup_parent: String,
    pub(crate) cgroup_driver: cgroup::Driver,
}

/// What changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) ready: bool,
    pub(crate) reason: String,
    pub(crate) network: Arc<Network>,
    pub(crate) overhead: Option<LinuxContainerResources>,
    pub(crate) resources: Option<LinuxContainerResources>,
}

/// A pod: its configuration, and what was made for it.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) fixed: Fixed,
    pub(crate) status: RwLock<Status>,
}

impl Sandbox {
    pub(crate) fn status(&self) -> Status {
        self.status.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.fixed.id
    }

    /// The configuration that the pod was made with.
    pub fn config(&self) -> &PodSandboxConfig {
        &self.fixed.config
    }

    /// Name, namespace, uid, attempt.
    pub fn metadata(&self) -> &PodSandboxMetadata {
        &self.fixed.metadata
    }

    /// The runtime handler; empty for the default one.
    pub fn handler(&self) -> &str {
        &self.fixed.handler
    }

    /// In nanoseconds since 1970.
    pub fn created_at(&self) -> i64 {
        self.fixed.created_at
    }

    /// Whether containers can run in it.
    pub fn state(&self) -> State {
        match self.status().ready {
            true => State::Ready,
            false => State::NotReady,
        }
    }

    /// Why it is not ready; empty if it is.
    pub fn reason(&self) -> String {
        self.status().reason
    }

    /// What its containers join. The paths are there while the pod is ready.
    pub fn namespaces(&self) -> &Namespaces {
        &self.fixed.namespaces
    }

    /// Addresses and results of the plugins; without any once the pod is stopped.
    pub fn network(&self) -> Arc<Network> {
        self.status().network
    }

    /// What its containers have mounted.
    pub fn files(&self) -> &Files {
        &self.fixed.files
    }

    /// The name of the node in the pod; the machine's for pods on the node's network.
    pub fn hostname(&self) -> &str {
        &self.fixed.hostname
    }

    /// What ends with the boot, in memory: the shim's directory.
    pub fn run_dir(&self) -> &Path {
        &self.fixed.run_dir
    }

    /// What survives a boot.
    pub fn state_dir(&self) -> &Path {
        &self.fixed.state_dir
    }

    /// The control group below which the pod's containers have theirs: a path, or a slice of
    /// systemd. Never empty.
    pub fn cgroup_parent(&self) -> &str {
        &self.fixed.cgroup_parent
    }

    /// Who makes control groups of this pod.
    pub fn cgroup_driver(&self) -> cgroup::Driver {
        self.fixed.cgroup_driver
    }

    /// `linux.cgroupsPath` of a container of this pod.
    pub fn cgroups_path(&self, container_id: &str) -> String {
        let parent = &self.fixed.cgroup_parent;
        match (self.fixed.cgroup_driver, parent.ends_with(".slice")) {
            (cgroup::Driver::Systemd, true) => {
                let slice = parent.rsplit('/').next().unwrap_or(parent);
                format!("{slice}:podloom:{container_id}")
            }
            _ => format!("{}/{container_id}", parent.trim_end_matches('/')),
        }
    }

    /// Overhead and resources of the pod, as last updated.
    pub fn resources(&self) -> (Option<LinuxContainerResources>, Option<LinuxContainerResources>) {
        let status = self.status();
        (status.overhead, status.resources)
    }
}
