//! What is kept of a container between commands: a directory for each, below the state root.

use crate::{ContainerId, Error, Kind, Result};
use runtime_spec::NamespaceKind;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// File of the record.
pub(crate) const RECORD: &str = "state.json";
/// The configuration as it was when the container was made.
pub(crate) const CONFIG: &str = "config.json";
/// Socket on which the first process waits, while the container is made.
pub(crate) const GATE_EARLY: &str = "creating.sock";
/// The same socket once the container can be started.
pub(crate) const GATE: &str = "start.sock";
/// The same socket while a command starts it; what stays of one that was killed meanwhile.
pub(crate) const GATE_LATE: &str = "starting.sock";
/// Folder, in the state root, of containers that are gone and whose `poststop` hooks are still to run;
/// its name is no container's.
const LEFT: &str = ".left";
/// A record has about one kilobyte; annotations count.
const RECORD_MAX: usize = runtime_spec::DOCUMENT_MAX;

/// What is recorded of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// Seconds since 1970 when it was made, and nanoseconds.
    pub(crate) created: (u64, u32),
    /// User who made it.
    pub(crate) owner: u32,
    /// First process; 0 before there is one.
    pub(crate) pid: i32,
    /// When it was started, in ticks since boot: tells it from a later one with its number.
    pub(crate) start_time: u64,
    pub(crate) namespaces: Vec<NamespaceKind>,
    pub(crate) cgroup: cgroup::Paths,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// Number of the mount of its root, for one that shares its maker's mount namespace.
    #[serde(default)]
    pub(crate) cover: Option<u64>,
    /// Group of resctrl that was made for it.
    #[serde(default)]
    pub(crate) rdt: Option<PathBuf>,
    /// Its group of resctrl for monitoring.
    #[serde(default)]
    pub(crate) monitor: Option<PathBuf>,
    /// What later commands would have to read the whole configuration for.
    #[serde(default)]
    pub(crate) brief: Option<Brief>,
}

/// Whether a configuration has these things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Brief {
    pub(crate) process: bool,
    pub(crate) poststart: bool,
    pub(crate) poststop: bool,
    /// A new PID namespace.
    pub(crate) pids: bool,
}

impl Brief {
    pub(crate) fn of(spec: &runtime_spec::Spec) -> Brief {
        let hooks = spec.hooks.as_ref();
        let spaces = spec.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
        let path = |path: &PathBuf| !path.as_os_str().is_empty();
        Brief {
            process: spec.process.is_some(),
            poststart: hooks.is_some_and(|hooks| !hooks.poststart.is_empty()),
            poststop: hooks.is_some_and(|hooks| !hooks.poststop.is_empty()),
            pids: spaces.iter().any(|space| {
                space.kind == NamespaceKind::Pid && !space.path.as_ref().is_some_and(path)
            }),
        }
    }
}

/// The directory of one container, held open.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) path: PathBuf,
    fd: OwnedFd,
}

impl Dir {
    /// Makes the directory of a new container, and locks it against other commands.
    pub(crate) fn create(root: &Path, id: &ContainerId) -> Result<Dir> {
        std::fs::create_dir_all(root).map_err(|error| Error::path(root, "mkdir", &error))?;
        let path = root.join(id.as_str());
        loop {
            match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    let cause = "container with given ID already exists";
                    return Err(Error::new(Kind::Exists, id.as_str(), cause));
                }
                Err(errno) => return Err(Error::errno(path.display().to_string(), "mkdir", errno)),
            }
            // Until it is locked it looks like one that was cut short, which others may remove.
            match Dir::open_path(id, path.clone()) {
                Err(error) if error.kind == Kind::NotFound => {}
                other => {
                    let dir = other?;
                    dir.lock()?;
                    if dir.is_current() {
                        return Ok(dir);
                    }
                }
            }
        }
    }

    /// Opens the directory of a container that exists.
    pub(crate) fn open(root: &Path, id: &ContainerId) -> Result<Dir> {
        Dir::open_path(id, root.join(id.as_str()))
    }

    /// Opens the directory of a container that was removed before its `poststop` hooks had run.
    pub(crate) fn open_left(root: &Path, id: &ContainerId) -> Result<Dir> {
        Dir::open_path(id, root.join(LEFT).join(id.as_str()))
    }

    /// From here on the container is gone; what its hooks need stays until it is removed. False when
    /// an earlier container of this name is there still.
    pub(crate) fn leave(&mut self) -> Result<bool> {
        let (Some(root), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(self.failed(LEFT, "rename", Errno::INVAL));
        };
        let (folder, place) = (root.join(LEFT), root.join(LEFT).join(name));
        std::fs::create_dir_all(&folder).map_err(|error| Error::path(&folder, "mkdir", &error))?;
        match rustix::fs::rename(&self.path, &place) {
            Ok(()) => self.path = place,
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(false),
            Err(errno) => return Err(self.failed(LEFT, "rename", errno)),
        }
        Ok(true)
    }

    fn open_path(id: &ContainerId, path: PathBuf) -> Result<Dir> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(Dir { path, fd }),
            Err(Errno::NOENT) => Err(missing(id)),
            Err(errno) => Err(Error::errno(path.display().to_string(), "open", errno)),
        }
    }

    /// Waits until no other command makes or removes this container.
    pub(crate) fn lock(&self) -> Result<()> {
        loop {
            match rustix::fs::flock(&self.fd, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::errno(self.path.display().to_string(), "flock", errno));
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Lets other commands at it again, while this one keeps the directory open.
    pub(crate) fn unlock(&self) {
        // Who does not hold the lock has nothing to let go of.
        let _ = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
    }

    /// Whether the path still leads to this directory: it was not removed while we waited.
    pub(crate) fn is_current(&self) -> bool {
        let (Ok(mine), Ok(there)) = (rustix::fs::fstat(&self.fd), rustix::fs::stat(&self.path))
        else {
            return false;
        };
        (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
    }

    /// Writes the record, whole or not at all.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        const NEW: &str = "state.json.new";
        let text = serde_json::to_vec(record)
            .map_err(|error| Error::invalid(record.id.as_str(), error.to_string()))?;
        self.write(NEW, &text)?;
        rustix::fs::renameat(&self.fd, NEW, &self.fd, RECORD)
            .map_err(|errno| self.failed(RECORD, "rename", errno))
    }

    /// The record; `None` when there is none yet, or it cannot be understood.
    pub(crate) fn load(&self) -> Result<Option<Record>> {
        match self.read(RECORD) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(Error { kind: Kind::System(Some(Errno::NOENT)), .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let fail = |errno| self.failed(name, "write", errno);
        let file =
            rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
        let mut left = bytes;
        while !left.is_empty() {
            let written = rustix::io::write(&file, left).map_err(fail)?;
            left = &left[written..];
        }
        Ok(())
    }

    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(|errno| self.failed(name, "open", errno))?;
        crate::bundle::read(file.into(), RECORD_MAX)
            .map_err(|error| Error::path(&self.path.join(name), "read", &error))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
            .map_err(|errno| self.failed(to, "rename", errno))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    pub(crate) fn unlink(&self, name: &str) -> Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed(name, "unlink", errno)),
        }
    }

    /// Removes the directory and all in it, unless another one has its place.
    pub(crate) fn remove(self) -> Result<()> {
        if !self.is_current() {
            return Ok(());
        }
        for name in [GATE, GATE_EARLY, GATE_LATE, CONFIG, RECORD] {
            self.unlink(name)?;
        }
        let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        match std::fs::remove_dir(&self.path) {
            Ok(()) => Ok(()),
            // By another command, which did not wait for this one any longer.
            Err(error) if gone(&error) => Ok(()),
            // Something else is in it: a file half written, or what an operator put there.
            Err(_) => match std::fs::remove_dir_all(&self.path) {
                Err(error) if !gone(&error) => Err(Error::path(&self.path, "remove", &error)),
                _ => Ok(()),
            },
        }
    }

    /// Whether a process waits at a socket of this name.
    pub(crate) fn is_awaited(&self, name: &str) -> bool {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::SEQPACKET;
        let Ok(socket) = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None) else {
            return false;
        };
        let Ok(address) = SocketAddrUnix::new(self.short_path(name)) else { return false };
        // Many that wait for an answer already are a sign that somebody listens, too.
        matches!(rustix::net::connect(&socket, &address), Ok(()) | Err(Errno::AGAIN))
    }

    /// A path by which a socket in it can be named, however long the directory's own path is.
    pub(crate) fn short_path(&self, name: &str) -> String {
        use rustix::fd::AsRawFd;
        format!("/proc/self/fd/{}/{name}", self.fd.as_fd().as_raw_fd())
    }

    fn failed(&self, name: &str, what: &str, errno: Errno) -> Error {
        Error::errno(self.path.join(name).display().to_string(), what, errno)
    }
}

impl Drop for Dir {
    /// Closing would not do: a child that another thread makes at the same time has a copy of the
    /// descriptor until it executes its program, and with it the lock.
    fn drop(&mut self) {
        self.unlock();
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The words that callers look for.
pub(crate) fn missing(id: &ContainerId) -> Error {
    Error::new(Kind::NotFound, id.as_str(), "container does not exist")
}

/// Names of all containers, those half made included.
pub(crate) fn names(root: &Path) -> Result<Vec<ContainerId>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::path(root, "read", &error)),
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| ContainerId::new(&name).ok())
        .filter(|id| root.join(id.as_str()).is_dir())
        .collect();
    names.sort();
    Ok(names)
}

impl Dir {
    /// Whether a command that makes, starts or removes the container is at work.
    pub(crate) fn is_locked(&self) -> bool {
        // Opened anew: a lock taken by this very descriptor would not be seen.
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(other) = rustix::fs::open(&self.path, flags, Mode::empty()) else { return false };
        rustix::fs::flock(&other, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    /// Takes the lock within a time.
    pub(crate) fn lock_within(&self, limit: std::time::Duration) -> Result<bool> {
        let until = std::time::Instant::now() + limit;
        loop {
            match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if std::time::Instant::now() < until => {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(errno) => {
                    return Err(Error::errno(self.path.display().to_string(), "flock", errno));
                }
            }
        }
    }
}
