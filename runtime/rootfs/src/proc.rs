//! A procfs that nobody else can reach.
//!
//! Writes to `/proc/self/attr` or `/proc/sys` by path can be led elsewhere by whoever controls what
//! is mounted there. These go through a procfs whose root is held open, never across another
//! mount or a magic link, and the file is checked to be on procfs.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, open, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen,
    open_tree,
};
use std::ffi::CStr;

/// A procfs of the pid namespace of the process that opened it. Allocates nothing; the
/// descriptor is closed on exec.
#[derive(Debug)]
pub struct ProcHandle {
    root: OwnedFd,
}

impl ProcHandle {
    /// Opens one: a fresh instance, attached nowhere; where a user namespace may not have that, a
    /// detached copy of the one at `/proc`; without the right to either, `/proc` itself.
    ///
    /// # Errors
    /// There is no procfs, or `/proc` is something else.
    pub fn open() -> rustix::io::Result<ProcHandle> {
        let root = match fresh().or_else(|_| copy()) {
            Ok(root) => root,
            Err(_) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                open(c"/proc", flags, Mode::empty())?
            }
        };
        ProcHandle::verified(root)
    }

    /// Takes a directory that is said to be the root of a procfs.
    pub(crate) fn verified(root: OwnedFd) -> rustix::io::Result<ProcHandle> {
        if is_procfs(root.as_fd())? { Ok(ProcHandle { root }) } else { Err(Errno::XDEV) }
    }

    /// Opens a file by its path below `/proc`, such as `self/attr/exec`.
    ///
    /// # Errors
    /// The kernel's; `XDEV` when something is mounted on the way, or the file is not procfs's.
    pub fn open_file(&self, path: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
        let file = openat2(&self.root, path, flags, Mode::empty(), resolve)?;
        if is_procfs(file.as_fd())? { Ok(file) } else { Err(Errno::XDEV) }
    }

    /// Writes a file in one call, as procfs wants it.
    ///
    /// # Errors
    /// As for [`ProcHandle::open_file`]; `IO` when not all was taken.
    pub fn write(&self, path: &CStr, data: &[u8]) -> rustix::io::Result<()> {
        let file = self.open_file(path, OFlags::WRONLY)?;
        let written = rustix::io::write(&file, data)?;
        if written == data.len() { Ok(()) } else { Err(Errno::IO) }
    }
}

impl AsFd for ProcHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

fn fresh() -> rustix::io::Result<OwnedFd> {
    let fs = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A copy without what is mounted on it; with that where the kernel insists.
fn copy() -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, c"/proc", flags)
        .or_else(|_| open_tree(CWD, c"/proc", flags | OpenTreeFlags::AT_RECURSIVE))
}

/// Whether a file is on procfs.
pub(crate) fn is_procfs(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(fstatfs(fd)?.f_type == PROC_SUPER_MAGIC)
}
