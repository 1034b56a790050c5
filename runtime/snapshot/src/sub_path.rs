//! A part of a mounted snapshot: `subPath` of volumes made of images.

use crate::error::{Error, Kind};
use crate::idmap::{self, Attribute};
use layer::RelativePath;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What `path` is within the file system at `root`, as an `O_PATH` descriptor. Links are followed
/// as within the container: they never lead out of `root`, and not onto other mounts.
///
/// # Errors
/// [`Kind::Invalid`] when `path` climbs out; [`Kind::NotFound`] when it is not there.
pub fn sub_path(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Error> {
    let parsed = RelativePath::parse(path.as_bytes(), usize::MAX)
        .map_err(|e| Error::tree(Path::new(path), "be a sub path", e).of(Kind::Invalid))?;
    let name = if parsed.is_root() { b"." } else { parsed.as_bytes() };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    loop {
        match openat2(root, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(found) => return Ok(found),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(e @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => {
                return Err(Error::io(Path::new(path), "find", e).of(Kind::NotFound));
            }
            Err(e) => return Err(Error::io(Path::new(path), "open", e)),
        }
    }
}

/// A read-only mount of `path` within the file system at `root`, attached nowhere.
///
/// # Errors
/// As [`sub_path`]; [`Kind::Unsupported`] when `root` is a detached mount and the kernel (before
/// 6.15) cannot clone those: attach it first.
pub fn sub_path_mount(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Error> {
    let found = sub_path(root, path)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(&found, "", flags).map_err(|e| {
        let kind = if e == Errno::INVAL { Kind::Unsupported } else { Kind::Io };
        Error::io(Path::new(path), "clone the mount", e).of(kind)
    })?;
    idmap::set(mount.as_fd(), Attribute::ReadOnly)
        .map_err(|e| Error::io(Path::new(path), "make the mount read-only", e))?;
    Ok(mount)
}
