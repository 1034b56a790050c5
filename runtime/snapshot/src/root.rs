//! The directories of a root: made, opened, moved, synced.

use crate::error::{Error, Kind};
use crate::record::SnapshotKind;
use crate::sweep::{self, Sweep};
use layer::remove_tree;
use rustix::fs::{
    FlockOperation, Mode, OFlags, RenameFlags, flock, fsync, mkdirat, openat, renameat_with, syncfs,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The root directory of a snapshotter, locked against other processes.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    dir: OwnedFd,
    snapshots: OwnedFd,
    new: OwnedFd,
    trash: OwnedFd,
    next_id: AtomicU64,
    sweep: Sweep,
    /// Held until the process ends or this is dropped.
    _lock: OwnedFd,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How often a lock held by another process is tried again.
const RETRY: Duration = Duration::from_millis(20);

impl Root {
    /// Opens `path`, makes what is missing, and takes the lock; waits for it at most `wait`.
    pub(crate) fn open(path: &Path, wait: Duration) -> Result<Root, Error> {
        let failed = |doing: &'static str| move |e: Errno| Error::io(path, doing, e);
        fs::create_dir_all(path).map_err(|e| Error::io(path, "make the directory", e))?;
        let path = named(path)?;
        let path = path.as_path();
        let dir = openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty())
            .map_err(failed("open the directory"))?;
        let lock = openat(
            &dir,
            "lock",
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o600),
        )
        .map_err(failed("open the lock"))?;
        take(&lock, path, wait)?;
        let sub = |name: &str, mode| -> Result<OwnedFd, Error> {
            match mkdirat(&dir, name, Mode::from_raw_mode(mode)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::io(&path.join(name), "make the directory", e)),
            }
            openat(&dir, name, DIRECTORY, Mode::empty())
                .map_err(|e| Error::io(&path.join(name), "open the directory", e))
        };
        // Containers of user namespaces pass through to their own files; nobody can list.
        let snapshots = sub("snapshots", 0o711)?;
        let (new, trash) = (sub("new", 0o700)?, sub("trash", 0o700)?);
        sub("empty", 0o755)?;
        Ok(Root {
            path: path.to_owned(),
            dir,
            snapshots,
            new,
            trash,
            next_id: AtomicU64::new(1),
            sweep: Sweep::default(),
            _lock: lock,
        })
    }

    pub(crate) fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn snapshots(&self) -> BorrowedFd<'_> {
        self.snapshots.as_fd()
    }

    /// Where the complete snapshot `id` is.
    pub(crate) fn at(&self, id: u64) -> PathBuf {
        self.path.join("snapshots").join(id.to_string())
    }

    /// Where the snapshot `id` is made.
    pub(crate) fn new_at(&self, id: u64) -> PathBuf {
        self.path.join("new").join(id.to_string())
    }

    /// Ids up to `id` are taken.
    pub(crate) fn taken(&self, id: u64) {
        self.next_id.fetch_max(id.saturating_add(1), Ordering::Relaxed);
    }

    /// Makes the directory of a new snapshot.
    pub(crate) fn make(&self) -> Result<(u64, OwnedFd), Error> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let failed = |e| Error::io(&self.new_at(id), "make the directory", e);
        let name = id.to_string();
        // What an earlier process left under this number.
        remove_tree(self.new.as_fd(), name.as_bytes())
            .map_err(|e| Error::tree(&self.new_at(id), "remove a leftover", e))?;
        mkdirat(&self.new, &name, Mode::from_raw_mode(0o711)).map_err(failed)?;
        let dir = openat(&self.new, &name, DIRECTORY, Mode::empty()).map_err(failed)?;
        Ok((id, dir))
    }

    /// Makes a directory within the directory of a new snapshot.
    pub(crate) fn make_in(&self, id: u64, dir: &OwnedFd, name: &str) -> Result<OwnedFd, Error> {
        let failed = |e| Error::io(&self.new_at(id).join(name), "make the directory", e);
        mkdirat(dir, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        let made = openat(dir, name, DIRECTORY, Mode::empty()).map_err(failed)?;
        // Whatever the process's umask.
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).map_err(failed)?;
        Ok(made)
    }

    /// Writes everything of the file system to disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        syncfs(&self.dir).map_err(|e| Error::io(&self.path, "sync the file system", e))
    }

    /// Makes finished renames durable.
    pub(crate) fn sync_names(&self) -> Result<(), Error> {
        let failed = |e| Error::io(&self.path.join("snapshots"), "sync the directory", e);
        fsync(&self.snapshots).map_err(failed)
    }

    /// The one step by which a snapshot becomes complete.
    pub(crate) fn complete(&self, id: u64) -> Result<(), Error> {
        let name = id.to_string();
        let flags = RenameFlags::NOREPLACE;
        renameat_with(&self.new, &name, &self.snapshots, &name, flags)
            .map_err(|e| Error::io(&self.new_at(id), "move to its place", e))
    }

    /// Removes the snapshot being made under `id`.
    pub(crate) fn discard(&self, id: u64) -> Result<(), Error> {
        let name = self.to_trash(&self.new, &self.new_at(id), id)?;
        self.empty_trash(&name)
    }

    /// Removes the complete snapshot `id`: from here on it is none. Its files go soon after. Those of a
    /// layer are waited for a little: who removes images wants their space.
    pub(crate) fn remove(self: &Arc<Root>, id: u64, kind: SnapshotKind) -> Result<(), Error> {
        let name = self.to_trash(&self.snapshots, &self.at(id), id)?;
        match kind {
            SnapshotKind::Committed => sweep::soon(self, name),
            SnapshotKind::Active | SnapshotKind::View => sweep::begin(self, vec![name]),
        }
        Ok(())
    }

    fn to_trash(&self, from: &OwnedFd, path: &Path, id: u64) -> Result<String, Error> {
        for place in ["fs", crate::mount::LAYERS] {
            detach_mounts(&path.join(place))?;
        }
        let name = id.to_string();
        match renameat_with(from, &name, &self.trash, &name, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::NOENT) => {}
            // An id is used once in a process, so this is an earlier process's.
            Err(Errno::EXIST | Errno::NOTEMPTY) => {
                self.empty_trash(&name)?;
                renameat_with(from, &name, &self.trash, &name, RenameFlags::NOREPLACE)
                    .map_err(|e| Error::io(path, "move to the trash", e))?;
            }
            Err(e) => return Err(Error::io(path, "move to the trash", e)),
        }
        Ok(name)
    }

    pub(crate) fn empty_trash(&self, name: &str) -> Result<(), Error> {
        let path = self.path.join("trash").join(name);
        remove_tree(self.trash.as_fd(), name.as_bytes())
            .map_err(|e| Error::tree(&path, "remove", e))
    }

    /// Puts what an earlier process was making into the trash, and gives the trash's names. Nothing
    /// new gets a number of those.
    pub(crate) fn abandoned(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for (dir, name) in self.leftovers()? {
            let Ok(id) = name.parse() else { continue };
            self.taken(id);
            match dir {
                "new" => names.push(self.to_trash(&self.new, &self.new_at(id), id)?),
                _ => names.push(name),
            }
        }
        Ok(names)
    }

    /// Names that crashed processes left, as (directory, name).
    pub(crate) fn leftovers(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let mut found = Vec::new();
        for (dir, fd) in [("new", &self.new), ("trash", &self.trash)] {
            let path = self.path.join(dir);
            let entries = layer::entries(fd.as_fd(), dir)
                .map_err(|e| Error::tree(&path, "list the directory", e))?;
            let names = entries.into_iter();
            found.extend(names.map(|e| (dir, String::from_utf8_lossy(&e.name).into_owned())));
        }
        Ok(found)
    }

    /// Removes what [`Root::leftovers`] named.
    pub(crate) fn remove_leftover(&self, dir: &str, name: &str) -> Result<(), Error> {
        let path = self.path.join(dir).join(name);
        for place in ["fs", crate::mount::LAYERS] {
            detach_mounts(&path.join(place))?;
        }
        let fd = if dir == "new" { &self.new } else { &self.trash };
        remove_tree(fd.as_fd(), name.as_bytes()).map_err(|e| Error::tree(&path, "remove", e))
    }
}

/// The path without links. One that only this process can go (through a descriptor) has none.
fn named(path: &Path) -> Result<PathBuf, Error> {
    let failed = |e| Error::io(path, "find the directory", e);
    let name = path.canonicalize().map_err(failed)?;
    let (given, found) =
        (fs::metadata(path).map_err(failed)?, fs::metadata(&name).map_err(failed)?);
    if (given.dev(), given.ino()) != (found.dev(), found.ino()) {
        let detail = "its real path leads elsewhere: give one that every process can go";
        return Err(Error::new(Kind::Invalid, path.display(), detail));
    }
    Ok(name)
}

fn take(lock: &OwnedFd, path: &Path, wait: Duration) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if start.elapsed() < wait => std::thread::sleep(RETRY),
            Err(Errno::WOULDBLOCK) => {
                let detail = "another process uses it; ask that one, or end it";
                return Err(Error::new(Kind::Locked, path.display(), detail));
            }
            Err(e) => return Err(Error::io(path, "take the lock", e)),
        }
    }
}

/// Takes off what is mounted at `path`, all of it.
fn detach_mounts(path: &Path) -> Result<(), Error> {
    loop {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point, not there, or a process that may not mount anyway.
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR | Errno::PERM) => return Ok(()),
            Err(e) => return Err(Error::io(path, "unmount", e)),
        }
    }
}
