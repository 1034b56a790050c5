//! One pod, as others see it.

use crate::namespaces::Namespaces;
use crate::network::Network;
use crate::record::{self, Record};
use crate::wish::Name;
use crate::{Error, Kind, Result, disk};
use cri_api::v1::{LinuxContainerResources, PodSandboxConfig, PodSandboxMetadata};
use shim_client::Shim;
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

/// The names of a pod's files below its state directory.
pub(crate) const RECORD: &str = "record";
pub(crate) const STATUS: &str = "status";

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

/// A pod: its configuration, and what was made for it.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) record: Record,
    pub(crate) metadata: PodSandboxMetadata,
    pub(crate) name: Name,
    pub(crate) namespaces: Namespaces,
    pub(crate) files: Files,
    pub(crate) run_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    live: RwLock<Live>,
    /// Held by who changes the pod: one at a time.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

/// What changes.
#[derive(Debug, Default)]
struct Live {
    status: record::Status,
    network: Arc<Network>,
    shim: Option<Shim>,
}

impl Sandbox {
    /// The pod that a record describes, whose files are in `state_dir`; not ready yet.
    ///
    /// # Errors
    /// When the record lacks what every pod has.
    pub(crate) fn new(record: Record, state_dir: PathBuf) -> Result<Sandbox> {
        let subject = format!("record of pod {}", record.id);
        let missing = |what: &str| Error::new(Kind::Io, &subject, format!("has no {what}"));
        let metadata = record.config.metadata.clone().ok_or_else(|| missing("metadata"))?;
        let name = Name::parse(&metadata)?;
        let run_dir = PathBuf::from(&record.run_dir);
        if !run_dir.is_absolute() {
            return Err(missing("directory"));
        }
        let shm = match record.shm.as_str() {
            "" => PathBuf::from("/dev/shm"),
            path => PathBuf::from(path),
        };
        let files = Files {
            resolv_conf: state_dir.join("resolv.conf"),
            hostname: state_dir.join("hostname"),
            hosts: state_dir.join("hosts"),
            shm,
        };
        Ok(Sandbox {
            namespaces: Namespaces::of(&record, &record.config)?,
            record,
            metadata,
            name,
            files,
            run_dir,
            state_dir,
            live: RwLock::default(),
            gate: tokio::sync::Mutex::default(),
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Live) -> T) -> T {
        look(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn status(&self) -> record::Status {
        self.read(|live| live.status.clone())
    }

    /// Changes the status, on disk first. For who holds the gate, or is alone with the pod.
    ///
    /// # Errors
    /// When it cannot be written; it is changed here all the same.
    pub(crate) fn change(&self, change: impl FnOnce(&mut record::Status)) -> Result<()> {
        let mut status = self.status();
        change(&mut status);
        let written = disk::write(&self.state_dir.join(STATUS), &status);
        self.restore(status);
        written
    }

    /// Takes over a status that is on disk.
    pub(crate) fn restore(&self, status: record::Status) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.network = Arc::new(status.network(self.record.netns()));
        live.status = status;
    }

    pub(crate) fn set_shim(&self, shim: Option<Shim>) {
        self.live.write().unwrap_or_else(PoisonError::into_inner).shim = shim;
    }

    pub(crate) fn held_shim(&self) -> Option<Shim> {
        self.read(|live| live.shim.clone())
    }

    /// The way to the pod's shim.
    ///
    /// # Errors
    /// [`Kind::Precondition`] when the pod is not ready.
    pub fn shim(&self) -> Result<Shim> {
        self.read(|live| match &live.shim {
            Some(shim) if live.status.ready => Ok(shim.clone()),
            _ => {
                let why = match live.status.reason.as_str() {
                    "" => "it is being made",
                    reason => reason,
                };
                let e = Error::new(Kind::Precondition, &self.name, format!("is not ready: {why}"));
                Err(e.with_advice("make a new pod"))
            }
        })
    }

    /// 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The configuration that the pod was made with.
    pub fn config(&self) -> &PodSandboxConfig {
        &self.record.config
    }

    /// Name, namespace, uid, attempt.
    pub fn metadata(&self) -> &PodSandboxMetadata {
        &self.metadata
    }

    /// The runtime handler; empty for the default one.
    pub fn handler(&self) -> &str {
        &self.record.handler
    }

    /// In nanoseconds since 1970.
    pub fn created_at(&self) -> i64 {
        self.record.created_at
    }

    /// Whether containers can run in it.
    pub fn state(&self) -> State {
        match self.read(|live| live.status.ready) {
            true => State::Ready,
            false => State::NotReady,
        }
    }

    /// Whether nothing of it is left but its files.
    pub fn is_stopped(&self) -> bool {
        self.read(|live| live.status.stopped)
    }

    /// Why it is not ready; empty if it is.
    pub fn reason(&self) -> String {
        self.read(|live| live.status.reason.clone())
    }

    /// What its containers join. The paths are there while the pod is ready.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Addresses and results of the plugins; without any once the pod is stopped.
    pub fn network(&self) -> Arc<Network> {
        self.read(|live| live.network.clone())
    }

    /// What its containers have mounted.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The name of the node in the pod; the machine's for pods on the node's network.
    pub fn hostname(&self) -> &str {
        &self.record.hostname
    }

    /// What ends with the boot, in memory: the shim's directory.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// What survives a boot.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The control group below which the pod's containers have theirs: a path, or a slice of
    /// systemd. Never empty.
    pub fn cgroup_parent(&self) -> &str {
        &self.record.cgroup_parent
    }

    /// Who makes control groups of this pod.
    pub fn cgroup_driver(&self) -> cgroup::Driver {
        self.record.cgroup_driver().into()
    }

    /// `linux.cgroupsPath` of a container of this pod.
    pub fn cgroups_path(&self, container_id: &str) -> String {
        let parent = &self.record.cgroup_parent;
        match (self.cgroup_driver(), parent.ends_with(".slice")) {
            (cgroup::Driver::Systemd, true) => {
                let slice = parent.rsplit('/').next().unwrap_or(parent);
                format!("{slice}:podloom:{container_id}")
            }
            _ => format!("{}/{container_id}", parent.trim_end_matches('/')),
        }
    }

    /// Overhead and resources of the pod, as last updated.
    pub fn resources(&self) -> (Option<LinuxContainerResources>, Option<LinuxContainerResources>) {
        self.read(|live| (live.status.overhead.clone(), live.status.resources.clone()))
    }
}
