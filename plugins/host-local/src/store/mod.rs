//! The leases of one network on disk, and the index beside them.
//!
//! ```text
//! <dataDir>/<network>/<address>            one lease each
//! <dataDir>/<network>/last_reserved_ip.<n> address given out last of range set n
//! <dataDir>/<network>/lock                 flock(2), exclusive, for every change
//! <dataDir>/.podloom/<network>/index       see `index`
//! ```
//! The index is trusted while the lease directory's time of change is the boot's stamp. Who
//! changes the directory, this plugin too, thereby moves that time to the present; this plugin
//! sets the stamp again after it has brought the index up to date. So a change by another
//! program, or a kill between the two, is seen by the next call, which walks the directory once
//! (`rebuild`).

mod lease;
mod rebuild;

use crate::boot::Boot;
use crate::config::Place;
use crate::index::{Index, State};
use crate::range::Bits;
use cni_types::{Error, Result};
pub(crate) use lease::{Found, LeaseDir, Owner, name};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fstat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

const LOCK: &str = "lock";
const INDEX_DIR: &str = ".podloom";
const INDEX: &str = "index";
const INDEX_NEW: &str = "index.new";

/// Attempts to lock a directory that an administrator deletes again and again.
const LOCK_TRIES: usize = 16;

/// What a verb may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Make directories and leases.
    Add,
    /// Change what is there; a missing directory is no leases.
    Remove,
    /// Change nothing.
    Look,
}

/// A locked lease directory with its index.
#[derive(Debug)]
pub(crate) struct Store {
    /// The leases.
    pub(crate) dir: LeaseDir,
    /// The index; in memory only where there is no directory for it.
    pub(crate) index: Index,
    index_dir: Option<OwnedFd>,
    boot: Boot,
    purpose: Purpose,
    /// Whether all files were seen in this call.
    walked: bool,
    _lock: Option<File>,
}

/// An I/O failure at a path.
fn fault(path: &Path, errno: Errno) -> Error {
    let error = Error::io(path.display(), &io::Error::from(errno));
    match errno {
        Errno::ELOOP | Errno::ENOTDIR => error.with_details(
            "leases must be real files and directories below dataDir; links are not followed",
        ),
        Errno::ENOSPC | Errno::EDQUOT => error.with_details("dataDir has no room left"),
        Errno::EROFS | Errno::EACCES | Errno::EPERM => {
            error.with_details("dataDir must be writable by the plugin")
        }
        _ => error.with_details("the plugin needs dataDir on a working local file system"),
    }
}

fn index_fault(cause: &io::Error) -> Error {
    Error::io("lease index", cause)
        .with_details("it is made anew from the leases when <dataDir>/.podloom is deleted")
}

const DIR_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Opens the directory `name` below `parent`, never through a link. With `mode`, makes it where
/// it is missing.
fn subdirectory(parent: &OwnedFd, name: &str, mode: Option<u32>) -> Result<Option<OwnedFd>, Errno> {
    let flags = DIR_FLAGS | OFlag::O_NOFOLLOW;
    match (openat(parent, name, flags, Mode::empty()), mode) {
        (Ok(fd), _) => Ok(Some(fd)),
        (Err(Errno::ENOENT), None) => Ok(None),
        (Err(Errno::ENOENT), Some(mode)) => {
            match mkdirat(parent, name, Mode::from_bits_truncate(mode)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
            openat(parent, name, flags, Mode::empty()).map(Some)
        }
        (Err(errno), _) => Err(errno),
    }
}

/// The open directories of a place.
struct Opened {
    data: OwnedFd,
    leases: LeaseDir,
}

fn open_dirs(place: &Place, purpose: Purpose) -> Result<Option<Opened>> {
    let path = place.data_dir.join(&place.network);
    let create = purpose == Purpose::Add;
    let mut data = open(&place.data_dir, DIR_FLAGS, Mode::empty());
    if create && matches!(data, Err(Errno::ENOENT)) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&place.data_dir)
            .map_err(|e| Error::io(place.data_dir.display(), &e))?;
        data = open(&place.data_dir, DIR_FLAGS, Mode::empty());
    }
    let data = match data {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR) if !create => return Ok(None),
        Err(errno) => return Err(fault(&place.data_dir, errno)),
    };
    let fd = subdirectory(&data, &place.network, create.then_some(0o755))
        .map_err(|errno| fault(&path, errno))?;
    Ok(fd.map(|fd| Opened { data, leases: LeaseDir { fd, path } }))
}

/// Takes the directory's lock, exclusively for changes and shared for a look. `None` when the
/// lock was deleted, with the directory perhaps, while waiting for it.
fn lock(dir: &LeaseDir, purpose: Purpose) -> Result<Option<Option<File>>> {
    let path = dir.path.join(LOCK);
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let mut opened = openat(&dir.fd, LOCK, flags, Mode::empty());
    if matches!(opened, Err(Errno::ENOENT)) {
        if purpose == Purpose::Look {
            return Ok(Some(None));
        }
        let mode = Mode::from_bits_truncate(0o750);
        opened = openat(&dir.fd, LOCK, flags | OFlag::O_CREAT, mode);
    }
    let file = match opened {
        Ok(fd) => File::from(fd),
        // The directory itself is deleted.
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(fault(&path, errno)),
    };
    loop {
        let locked = if purpose == Purpose::Look { file.lock_shared() } else { file.lock() };
        match locked {
            Ok(()) => break,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(Error::io(path.display(), &cause)),
        }
    }
    let stat = fstat(&file).map_err(|errno| fault(&path, errno))?;
    Ok((stat.st_nlink > 0).then_some(Some(file)))
}

impl Store {
    /// Opens and locks the leases of `place`. `None` if there is no directory, which
    /// [`Purpose::Add`] makes.
    pub(crate) fn open(place: &Place, purpose: Purpose, boot: Boot) -> Result<Option<Store>> {
        for _ in 0..LOCK_TRIES {
            let Some(opened) = open_dirs(place, purpose)? else { return Ok(None) };
            let Some(lock) = lock(&opened.leases, purpose)? else { continue };
            return Store::locked(opened, lock, (place, purpose), boot).map(Some);
        }
        let path = place.data_dir.join(&place.network);
        Err(Error::io(path.display(), &io::Error::other("is deleted all the time"))
            .with_details("stop the program that deletes the lease directory"))
    }

    fn locked(
        opened: Opened,
        lock: Option<File>,
        (place, purpose): (&Place, Purpose),
        boot: Boot,
    ) -> Result<Store> {
        let Opened { data, leases: dir } = opened;
        let index_dir = index_dir(&data, place, purpose);
        let stat = fstat(&dir.fd).map_err(|errno| fault(&dir.path, errno))?;
        let stored = index_dir.as_ref().and_then(open_index);
        let stamped = stat.st_mtime == boot.stamp() && stat.st_mtime_nsec == 0;
        let older = match stored {
            Some(index)
                if stamped && index.is_of_boot(boot.id()) && index.is_of_directory(stat.st_ino) =>
            {
                let walked = false;
                return Ok(Store { dir, index, index_dir, boot, purpose, walked, _lock: lock });
            }
            other => other,
        };
        let index = Index::new(0, *boot.id(), stat.st_ino);
        let walked = false;
        let mut store = Store { dir, index, index_dir, boot, purpose, walked, _lock: lock };
        store.rebuild(older)?;
        Ok(store)
    }

    /// Writes the index and marks the directory as unchanged since then.
    ///
    /// A failure is not one of the call: the leases are as they should be, and the directory's
    /// time of change makes the next call rebuild what could not be written.
    fn commit(&mut self) {
        if self.purpose == Purpose::Look {
            return;
        }
        let Some(index_dir) = &self.index_dir else { return };
        let written = match self.index.needs_file() {
            true => write_new(index_dir, &mut self.index).is_ok(),
            false => self.index.flush().is_ok(),
        };
        if written {
            let stamp = TimeSpec::new(self.boot.stamp(), 0);
            let _unstamped = futimens(&self.dir.fd, &TimeSpec::UTIME_OMIT, &stamp);
        }
    }

    /// The addresses leased to `owner`. The files decide; the index says where to look.
    pub(crate) fn leases_of(&mut self, owner: &Owner) -> Result<Vec<Bits>> {
        let candidates = self.with_index(|index, _| index.of_owner(owner.hash()))?;
        let mut leases = Vec::new();
        for ip in candidates {
            if matches!(self.dir.read(ip)?, Found::Lease(found, _) if found == *owner) {
                leases.push(ip);
            }
        }
        leases.sort_unstable();
        Ok(leases)
    }

    /// Asks the index; where it is damaged, once more after a walk.
    pub(crate) fn with_index<T>(
        &mut self,
        mut ask: impl FnMut(&mut Index, &LeaseDir) -> io::Result<T>,
    ) -> Result<T> {
        match ask(&mut self.index, &self.dir) {
            Ok(answer) => Ok(answer),
            Err(_) => {
                self.rebuild_from_self()?;
                ask(&mut self.index, &self.dir).map_err(|e| index_fault(&e))
            }
        }
    }

    /// Brings the index up to date with a change of the files that has been made. A failure
    /// leaves it as it was, for the next call to rebuild.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Index) -> io::Result<()>) {
        if change(&mut self.index).is_ok() {
            self.commit();
        }
    }

    /// The owners' hashes of all leases, after a walk; in the order of the addresses.
    pub(crate) fn walked(&mut self) -> Result<Vec<(Bits, u64)>> {
        if !self.walked {
            self.rebuild_from_self()?;
        }
        let nodes = self.index.nodes().map_err(|e| index_fault(&e))?;
        let used = nodes.into_iter().map(|(_, node)| node);
        let used = used.filter(|node| node.state == State::Used && node.owner != 0);
        let mut leases: Vec<_> = used.map(|node| (node.ip, node.owner)).collect();
        leases.sort_unstable();
        Ok(leases)
    }
}

/// Leases for reading one by one, without a walk.
#[derive(Debug)]
pub(crate) struct Look {
    dir: LeaseDir,
    past: rebuild::Past,
    _lock: Option<File>,
}

impl Look {
    /// Opens the leases of `place`. `None` if there is no directory.
    pub(crate) fn open(place: &Place, boot: &Boot) -> Result<Option<Look>> {
        for _ in 0..LOCK_TRIES {
            let Some(opened) = open_dirs(place, Purpose::Look)? else { return Ok(None) };
            let Some(lock) = lock(&opened.leases, Purpose::Look)? else { continue };
            let index = index_dir(&opened.data, place, Purpose::Look).as_ref().and_then(open_index);
            let past = rebuild::Past::of(index, boot);
            return Ok(Some(Look { dir: opened.leases, past, _lock: lock }));
        }
        Ok(None)
    }

    /// See [`LeaseDir::last_reserved`].
    pub(crate) fn last_reserved(&self, set: usize) -> Option<Bits> {
        self.dir.last_reserved(set)
    }

    /// What stands at `ip`; a lease of an earlier boot is nothing.
    pub(crate) fn read(&mut self, ip: Bits) -> Result<Found> {
        let found = self.dir.read(ip)?;
        match &found {
            Found::Lease(_, changed) if self.past.has_ended(ip, *changed) => Ok(Found::Nothing),
            _ => Ok(found),
        }
    }
}

/// The directory of the index. Without one every call walks the leases, which is slower and
/// otherwise the same; so its absence is no failure. Only ADD makes it.
fn index_dir(data: &OwnedFd, place: &Place, purpose: Purpose) -> Option<OwnedFd> {
    let mode = (purpose == Purpose::Add).then_some(0o700);
    let parent = subdirectory(data, INDEX_DIR, mode).ok()??;
    subdirectory(&parent, &place.network, mode).ok()?
}

fn open_index(dir: &OwnedFd) -> Option<Index> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = match openat(dir, INDEX, flags | OFlag::O_RDWR, Mode::empty()) {
        Err(Errno::EROFS | Errno::EACCES) => {
            openat(dir, INDEX, flags | OFlag::O_RDONLY, Mode::empty())
        }
        other => other,
    };
    Index::open(File::from(fd.ok()?)).ok()
}

/// Replaces the index file as a whole.
fn write_new(dir: &OwnedFd, index: &mut Index) -> io::Result<()> {
    let flags = OFlag::O_RDWR
        | OFlag::O_CREAT
        | OFlag::O_TRUNC
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_CLOEXEC;
    let file = File::from(openat(dir, INDEX_NEW, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    index.write_to(file)?;
    renameat(dir, INDEX_NEW, dir, INDEX)?;
    Ok(())
}
