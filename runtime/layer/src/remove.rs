//! Removing directory trees, however deep, wide or protected.

use crate::error::{Error, shown};
use crate::tree::first_entries;
use rustix::fs::{
    AtFlags, FileType, IFlags, Mode, OFlags, RenameFlags, fchmod, ioctl_getflags, ioctl_setflags,
    openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Names handled per reading of a directory: bounds the memory for wide ones.
const BATCH: usize = 4096;

/// Removes `name` in `parent` with everything beneath. That it is not there is a success.
///
/// Needs two descriptors and bounded memory for any tree: directories found beneath are moved up
/// and emptied there. Links are removed, never followed. Immutable and append-only marks are taken
/// off where the caller may. The caller unmounts what is mounted beneath.
///
/// # Errors
/// [`Kind::Io`](crate::Kind::Io) with the name that could not be removed.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    if remove_one(parent, name)? {
        return Ok(());
    }
    let top = open_dir(parent, name)?;
    let mut moved = 0u64;
    let mut batch = Vec::new();
    loop {
        batch.clear();
        first_entries(top.as_fd(), &shown(name), BATCH, &mut batch)?;
        if batch.is_empty() {
            break;
        }
        for entry in &batch {
            if !remove_one(top.as_fd(), &entry.name)? {
                flatten(top.as_fd(), &entry.name, &mut moved)?;
            }
        }
    }
    drop(top);
    match remove_one(parent, name)? {
        true => Ok(()),
        false => Err(Error::io(shown(name), "remove the directory", Errno::NOTEMPTY)),
    }
}

/// Empties the directory `name` of `top`: its non-empty directories move up into `top`.
fn flatten(top: BorrowedFd<'_>, name: &[u8], moved: &mut u64) -> Result<(), Error> {
    let dir = open_dir(top, name)?;
    let mut batch = Vec::new();
    loop {
        batch.clear();
        first_entries(dir.as_fd(), &shown(name), BATCH, &mut batch)?;
        if batch.is_empty() {
            return remove_one(top, name).map(|_| ());
        }
        for entry in &batch {
            if !remove_one(dir.as_fd(), &entry.name)? {
                move_up(dir.as_fd(), &entry.name, top, moved)?;
            }
        }
    }
}

fn move_up(
    dir: BorrowedFd<'_>,
    name: &[u8],
    top: BorrowedFd<'_>,
    moved: &mut u64,
) -> Result<(), Error> {
    // Moving a directory writes its ".." entry: its own marks count, too.
    drop(open_dir(dir, name)?);
    loop {
        let free = format!(".removed.{moved}");
        *moved += 1;
        match renameat_with(dir, name, top, free.as_str(), RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::io(shown(name), "move before removing", e)),
        }
    }
}

/// Unlinks a file or an empty directory. False for a directory that is not empty.
fn remove_one(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Error> {
    let mut unprotected = false;
    loop {
        let result = match unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => unlinkat(parent, name, AtFlags::REMOVEDIR),
            // POSIX lets unlink say EPERM for a directory, Linux for a protected file.
            Err(Errno::PERM) if is_dir(parent, name) => unlinkat(parent, name, AtFlags::REMOVEDIR),
            other => other,
        };
        match result {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(false),
            Err(Errno::PERM | Errno::ACCESS) if !unprotected => {
                unprotected = true;
                unprotect(parent);
                if let Ok(file) = open_any(parent, name) {
                    unprotect(file.as_fd());
                }
            }
            Err(e) => return Err(Error::io(shown(name), "remove", e)),
        }
    }
}

fn is_dir(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn open_any(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !matches!(kind, FileType::Directory | FileType::RegularFile) {
        return Err(Errno::NOTSUP);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn open_dir(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // A directory that its owner may not read, removed by its owner.
            let all = Mode::RWXU;
            rustix::fs::chmodat(parent, name, all, AtFlags::empty())
                .and_then(|()| openat(parent, name, flags, Mode::empty()))
        }
        other => other,
    };
    let dir = opened.map_err(|e| Error::io(shown(name), "open before removing", e))?;
    unprotect(dir.as_fd());
    Ok(dir)
}

/// Takes off what keeps entries from being removed. It is an attempt: whether it was enough is
/// seen by the removal that follows, which reports its own failure.
fn unprotect(fd: BorrowedFd<'_>) {
    let marks = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = ioctl_getflags(fd)
        && flags.intersects(marks)
    {
        ioctl_setflags(fd, flags.difference(marks)).ok();
    }
    if let Ok(stat) = rustix::fs::fstat(fd)
        && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        && stat.st_mode & 0o700 != 0o700
    {
        fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o700)).ok();
    }
}
