//! One container, as others see it.

use cri_api::v1::{
    ContainerConfig, ContainerMetadata, ContainerState, LinuxContainerResources, LinuxContainerUser,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// What never changes in a container's life.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) id: String,
    pub(crate) sandbox_id: String,
    pub(crate) config: ContainerConfig,
    pub(crate) metadata: ContainerMetadata,
    pub(crate) handler: String,
    pub(crate) image_id: String,
    pub(crate) created_at: i64,
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) cgroups_path: String,
    pub(crate) cgroup_driver: cgroup::Driver,
    pub(crate) stop_signal: i32,
    pub(crate) user: LinuxContainerUser,
    pub(crate) run_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
}

/// What changes in a container's life, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Created, running, exited, or unknown.
    pub state: ContainerState,
    /// Its first process, as the node sees it; 0 unless it is there.
    pub pid: i32,
    /// When its process was started, in nanoseconds since 1970; 0 if it never was.
    pub started_at: i64,
    /// When it ended, in nanoseconds since 1970; 0 if it has not.
    pub finished_at: i64,
    /// Exit status, or 128 and the signal.
    pub exit_code: i32,
    /// In one word: `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`, ...
    pub reason: String,
    /// In a sentence, for people; may be empty.
    pub message: String,
    /// Its limits, as last updated.
    pub resources: Option<LinuxContainerResources>,
    /// Its annotations, as last updated.
    pub annotations: BTreeMap<String, String>,
}

/// A container: its configuration, and what was made of it.
#[derive(Debug)]
pub struct Container {
    pub(crate) fixed: Fixed,
    pub(crate) status: RwLock<Status>,
}

impl Container {
    /// 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.fixed.id
    }

    /// Its pod.
    pub fn sandbox_id(&self) -> &str {
        &self.fixed.sandbox_id
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &ContainerConfig {
        &self.fixed.config
    }

    /// Name and attempt.
    pub fn metadata(&self) -> &ContainerMetadata {
        &self.fixed.metadata
    }

    /// The pod's runtime handler; empty for the default one.
    pub fn handler(&self) -> &str {
        &self.fixed.handler
    }

    /// Digest of the image's configuration, `sha256:...`.
    pub fn image_id(&self) -> &str {
        &self.fixed.image_id
    }

    /// In nanoseconds since 1970.
    pub fn created_at(&self) -> i64 {
        self.fixed.created_at
    }

    /// Where its log is; none for a container without.
    pub fn log_path(&self) -> Option<&Path> {
        self.fixed.log_path.as_deref()
    }

    /// `linux.cgroupsPath`, to find its control groups by.
    pub fn cgroups_path(&self) -> &str {
        &self.fixed.cgroups_path
    }

    /// Who made its control groups.
    pub fn cgroup_driver(&self) -> cgroup::Driver {
        self.fixed.cgroup_driver
    }

    /// Who its process runs as, as resolved in the image.
    pub fn user(&self) -> &LinuxContainerUser {
        &self.fixed.user
    }

    /// Number of the signal that asks it to end.
    pub fn stop_signal(&self) -> i32 {
        self.fixed.stop_signal
    }

    /// Name of its writable layer in the snapshotter.
    pub fn snapshot(&self) -> &str {
        &self.fixed.id
    }

    /// Its bundle: what ends with the boot.
    pub fn run_dir(&self) -> &Path {
        &self.fixed.run_dir
    }

    /// Its records: what survives a boot.
    pub fn state_dir(&self) -> &Path {
        &self.fixed.state_dir
    }

    /// Its status at this moment.
    pub fn status(&self) -> Status {
        self.status.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its state at this moment.
    pub fn state(&self) -> ContainerState {
        self.status.read().unwrap_or_else(PoisonError::into_inner).state
    }
}
