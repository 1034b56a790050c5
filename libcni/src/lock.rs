//! Who may work on a container or a network, in this process and in all others of the node.
//!
//! The specification wants no two operations on one container at a time, and GC alone with a
//! network. All locks are ranges of one file: a range needs no file of its own that would have to
//! be made, and removed without a race. The kernel frees them when their holder ends, however.

use crate::atomic::{self, Durable};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::RwLock;

/// What a lock is about; a part of the range's offset.
#[derive(Clone, Copy)]
enum Domain {
    Container = 0,
    Network = 1,
    /// Held by who waits for a network alone, so that a stream of shared holders ends.
    Gate = 2,
}

/// How a network is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// ADD, DEL, CHECK of one container: others may go on beside it.
    Shared,
    /// GC.
    Alone,
}

type Table<T> = Mutex<HashMap<String, Weak<T>>>;

/// The locks of one cache directory.
#[derive(Debug)]
pub(crate) struct Locks {
    file: PathBuf,
    containers: Table<tokio::sync::Mutex<()>>,
    networks: Table<RwLock<()>>,
}

/// A held network, and container if any; dropped, it is free again.
pub(crate) struct Held {
    // In this order: the file's lock first, then who waits in this process.
    _file: File,
    _local: Box<dyn Send + Sync>,
}

/// FNV-1a: the same in every process and release. Two names with one value only wait for each
/// other without need.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The range of one name: a single byte far inside the file, which needs not be that long.
fn range(domain: Domain, name: &str, kind: i32) -> libc::flock {
    let offset = (domain as u64) << 60 | (hash(name) >> 4);
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: i64::try_from(offset).unwrap_or_default(),
        l_len: 1,
        l_pid: 0,
    }
}

fn wait(file: &File, lock: &libc::flock) -> io::Result<()> {
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLKW(lock)) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Takes the lock if nobody has it.
fn attempt(file: &File, lock: &libc::flock) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(lock)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Takes `lock`, through a thread that may wait if it is held elsewhere.
async fn take(file: File, lock: libc::flock) -> io::Result<File> {
    if attempt(&file, &lock)? {
        return Ok(file);
    }
    // If the caller gives up, the thread ends with the lock and drops it with the file. Until
    // then it keeps nobody waiting: a request that is not granted yet is in no one's way.
    let waiting = tokio::task::spawn_blocking(move || wait(&file, &lock).map(|()| file));
    waiting.await.map_err(io::Error::other)?
}

fn local<T: Default>(table: &Table<T>, name: &str) -> Arc<T> {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = table.get(name).and_then(Weak::upgrade) {
        return found;
    }
    table.retain(|_, weak| weak.strong_count() > 0);
    let new = Arc::new(T::default());
    table.insert(name.to_owned(), Arc::downgrade(&new));
    new
}

impl Locks {
    pub(crate) fn new(dir: &Path) -> Locks {
        Locks { file: dir.join("lock"), containers: Table::default(), networks: Table::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    fn open(&self) -> io::Result<File> {
        if let Some(dir) = self.file.parent() {
            atomic::make(dir, Durable::No)?;
        }
        // Never truncated or removed: it has no content, only ranges.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(&self.file)
    }

    /// Takes a network. Before any container, so that two that need both never wait for each
    /// other.
    pub(crate) async fn network(&self, name: &str, how: Use) -> io::Result<Held> {
        let lock = local(&self.networks, name);
        let (local, kind): (Box<dyn Send + Sync>, _) = match how {
            Use::Shared => (Box::new(lock.read_owned().await), libc::F_RDLCK),
            Use::Alone => (Box::new(lock.write_owned().await), libc::F_WRLCK),
        };
        // In a file of its own, so that who gives up waiting for the network opens the gate.
        let gate = take(self.open()?, range(Domain::Gate, name, libc::F_WRLCK)).await?;
        let file = take(self.open()?, range(Domain::Network, name, kind)).await?;
        drop(gate);
        Ok(Held { _file: file, _local: local })
    }

    /// Takes a container.
    pub(crate) async fn container(&self, id: &str) -> io::Result<Held> {
        let local = local(&self.containers, id).lock_owned().await;
        let file = take(self.open()?, range(Domain::Container, id, libc::F_WRLCK)).await?;
        Ok(Held { _file: file, _local: Box::new(local) })
    }
}
