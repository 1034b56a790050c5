//! One container, as others see it.

use crate::making::Making;
use crate::record::{Record, STATUS, Stored};
use crate::wish::Name;
use crate::{Error, Kind, Result};
use cri_api::v1::{
    ContainerConfig, ContainerMetadata, ContainerState, LinuxContainerResources, LinuxContainerUser,
};
use sandbox::{blocking, disk};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tokio::sync::{Mutex, watch};

/// File of the configuration in a bundle.
pub(crate) const CONFIG: &str = "config.json";

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
    pub(crate) record: Record,
    metadata: ContainerMetadata,
    run_dir: PathBuf,
    state_dir: PathBuf,
    log_path: Option<PathBuf>,
    live: RwLock<Stored>,
    /// Held by who writes the status to disk.
    pen: std::sync::Mutex<()>,
    /// Whether it has ended.
    ended: watch::Sender<bool>,
    /// Held by who starts, updates or removes it.
    pub(crate) gate: Mutex<()>,
    /// Held while its process is being started, and while its end is noted.
    pub(crate) starting: Mutex<()>,
    /// Its process, as the runtime was told: what added ones are like.
    pub(crate) process: OnceLock<Arc<runtime_spec::Process>>,
    /// Whether its file system may go while its runtime removes it: neither a hook nor a runtime of
    /// others looks at it then. Not known of containers of an earlier process.
    pub(crate) parts_freely: OnceLock<bool>,
    /// `linux.cgroupsPath`, where a hook wanted another than the record says.
    pub(crate) placed: OnceLock<String>,
    /// Held by who changes its limits.
    pub(crate) limits: Mutex<()>,
    /// How the making of its process stands.
    pub(crate) making: Making,
}

impl Container {
    /// The container that a record describes, whose files are in `state_dir`.
    ///
    /// # Errors
    /// The record lacks what every container has.
    pub(crate) fn new(record: Record, state_dir: PathBuf) -> Result<Container> {
        let subject = format!("record of container {}", record.id);
        let missing = |what: &str| Error::new(Kind::Io, &subject, format!("has no {what}"));
        let metadata = record.config.metadata.clone().ok_or_else(|| missing("metadata"))?;
        let run_dir = PathBuf::from(&record.run_dir);
        if record.id.is_empty() || !run_dir.is_absolute() {
            return Err(missing("directory"));
        }
        let log_path = Some(PathBuf::from(&record.log_path));
        Ok(Container {
            log_path: log_path.filter(|path| !path.as_os_str().is_empty()),
            record,
            metadata,
            run_dir,
            state_dir,
            live: RwLock::default(),
            pen: std::sync::Mutex::default(),
            ended: watch::Sender::new(false),
            gate: Mutex::default(),
            starting: Mutex::default(),
            process: OnceLock::new(),
            parts_freely: OnceLock::new(),
            placed: OnceLock::new(),
            limits: Mutex::default(),
            making: Making::default(),
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Stored) -> T) -> T {
        look(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn stored(&self) -> Stored {
        self.read(Stored::clone)
    }

    /// Takes over a status that is on disk.
    pub(crate) fn restore(&self, stored: Stored) {
        let exited = stored.state() == ContainerState::ContainerExited;
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = stored;
        self.ended.send_if_modified(|ended| !std::mem::replace(ended, exited) && exited);
    }

    /// Changes what is on disk anyway, or is found out again by who opens the directory next.
    pub(crate) fn adjust(&self, change: impl FnOnce(&mut Stored)) {
        change(&mut self.live.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes the status unless `change` says that it stays; then on disk as well.
    ///
    /// # Errors
    /// It cannot be written; it is changed here all the same.
    pub(crate) async fn change(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Stored) -> bool,
    ) -> Result<bool> {
        let exited = {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            if !change(&mut live) {
                return Ok(false);
            }
            live.state() == ContainerState::ContainerExited
        };
        if exited {
            self.ended.send_replace(true);
        }
        let container = self.clone();
        blocking(move || {
            // Whoever writes last writes the newest.
            let _alone = container.pen.lock().unwrap_or_else(PoisonError::into_inner);
            disk::write(&container.state_dir.join(STATUS), &container.stored())
        })
        .await?;
        Ok(true)
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as the container.
        let _seen = ended.wait_for(|ended| *ended).await;
    }

    pub(crate) fn name(&self) -> Name {
        let (sandbox_id, name) = (self.record.sandbox_id.clone(), self.metadata.name.clone());
        Name { sandbox_id, name, attempt: self.metadata.attempt }
    }

    /// Where its file system is mounted.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.run_dir.join("rootfs")
    }

    /// 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// Its pod.
    pub fn sandbox_id(&self) -> &str {
        &self.record.sandbox_id
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &ContainerConfig {
        &self.record.config
    }

    /// Name and attempt.
    pub fn metadata(&self) -> &ContainerMetadata {
        &self.metadata
    }

    /// The pod's runtime handler; empty for the default one.
    pub fn handler(&self) -> &str {
        &self.record.handler
    }

    /// Digest of the image's configuration, `sha256:...`.
    pub fn image_id(&self) -> &str {
        &self.record.image_id
    }

    /// In nanoseconds since 1970.
    pub fn created_at(&self) -> i64 {
        self.record.created_at
    }

    /// Where its log is; none for a container without.
    pub fn log_path(&self) -> Option<&Path> {
        self.log_path.as_deref()
    }

    /// `linux.cgroupsPath`, to find its control groups by.
    pub fn cgroups_path(&self) -> &str {
        self.placed.get().unwrap_or(&self.record.cgroups_path)
    }

    /// Who made its control groups.
    pub fn cgroup_driver(&self) -> cgroup::Driver {
        match self.record.systemd {
            true => cgroup::Driver::Systemd,
            false => cgroup::Driver::Cgroupfs,
        }
    }

    /// Who its process runs as, as resolved in the image.
    pub fn user(&self) -> LinuxContainerUser {
        self.read(|live| LinuxContainerUser {
            uid: i64::from(live.uid),
            gid: i64::from(live.gid),
            supplemental_groups: live.groups.iter().copied().map(i64::from).collect(),
        })
    }

    /// Number of the signal that asks it to end.
    pub fn stop_signal(&self) -> i32 {
        self.record.stop_signal
    }

    /// Name of its writable layer in the snapshotter.
    pub fn snapshot(&self) -> &str {
        &self.record.id
    }

    /// Its bundle: what ends with the boot.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Its records: what survives a boot.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Its configuration for the runtime; none once its bundle is gone, or before it is there. Blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn configuration(&self) -> Result<Option<runtime_spec::Spec>> {
        let path = self.run_dir.join(CONFIG);
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| Error::io(path.display(), &e))?,
        };
        let spec = serde_json::from_slice(&text);
        spec.map(Some).map_err(|e| Error::new(Kind::Io, path.display(), e))
    }

    /// Its status at this moment.
    pub fn status(&self) -> Status {
        self.read(Stored::status)
    }

    /// Its first process at this moment, as the node sees it; 0 unless it is there.
    pub fn pid(&self) -> i32 {
        self.read(|live| live.pid)
    }

    /// When its process was started, in nanoseconds since 1970; 0 if it never was.
    pub fn started_at(&self) -> i64 {
        self.read(|live| live.started_at)
    }

    /// Its annotations at this moment.
    pub fn annotations(&self) -> HashMap<String, String> {
        let clone = |(key, value): (&String, &String)| (key.clone(), value.clone());
        self.read(|live| live.annotations.iter().map(clone).collect())
    }

    /// Its state at this moment.
    pub fn state(&self) -> ContainerState {
        self.read(Stored::state)
    }
}
