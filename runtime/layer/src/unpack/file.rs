//! Regular files: data and attributes.

use super::dirs::timestamps;
use crate::error::{Error, Kind, shown};
use crate::tar::{Archive, Entry};
use rustix::fs::{
    FallocateFlags, Mode, XattrFlags, fallocate, fchmod, fchown, fsetxattr, ftruncate, futimens,
};
use rustix::io::{Errno, pwrite};
use rustix::process::{Gid, Uid};
use std::io::Read;
use std::os::fd::BorrowedFd;

/// Files from this size on get their space in one piece.
const PREALLOCATE: u64 = 8 << 20;

/// Writes the current entry's data. Returns the bytes written, holes not counted.
pub(crate) fn write_data<R: Read>(
    file: BorrowedFd<'_>,
    entry: &Entry,
    archive: &mut Archive<R>,
) -> Result<u64, Error> {
    let Some(map) = &entry.sparse else {
        if entry.stored >= PREALLOCATE {
            preallocate(file, entry)?;
        }
        write_piece(file, entry, archive, (0, entry.stored))?;
        return Ok(entry.stored);
    };
    for piece in &map.pieces {
        write_piece(file, entry, archive, *piece)?;
    }
    ftruncate(file, map.size).map_err(|e| Error::io(shown(&entry.name), "set the size", e))?;
    Ok(entry.stored)
}

fn preallocate(file: BorrowedFd<'_>, entry: &Entry) -> Result<(), Error> {
    // Only as much as is certainly there to be written soon: the size is the archive's word.
    let most = entry.stored.min(1 << 30);
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, most) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(e) => Err(Error::io(shown(&entry.name), "reserve space", e)),
    }
}

fn write_piece<R: Read>(
    file: BorrowedFd<'_>,
    entry: &Entry,
    archive: &mut Archive<R>,
    (mut at, length): (u64, u64),
) -> Result<(), Error> {
    let end = at + length;
    while at < end {
        let Some(chunk) = archive.data(end - at)? else {
            return Err(Error::new(Kind::Format, shown(&entry.name), "its data is too short"));
        };
        match pwrite(file, chunk, at) {
            Ok(count) => {
                archive.consume(count);
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::io(shown(&entry.name), "write", e)),
        }
    }
    Ok(())
}

/// Sets what a file is like beside its data. `plain` tells that it was created with these
/// permissions already. Returns how many attributes were left out.
pub(crate) fn describe(
    file: BorrowedFd<'_>,
    entry: &Entry,
    owner: Option<(u32, u32)>,
    plain: bool,
) -> Result<u64, Error> {
    let failed = |doing| move |e: Errno| Error::io(shown(&entry.name), doing, e);
    if let Some((uid, gid)) = owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        fchown(file, Some(uid), Some(gid)).map_err(failed("set the owner"))?;
    }
    // After the owner: a change of owner clears set-user-id and capabilities.
    if !plain {
        let mode = Mode::from_raw_mode(entry.mode);
        fchmod(file, mode).map_err(failed("set the mode"))?;
    }
    let mut skipped = 0;
    for (name, value) in &entry.xattrs {
        let set = fsetxattr(file, name.as_slice(), value, XattrFlags::empty());
        skipped += tolerate(set, name, &shown(&entry.name))?;
    }
    futimens(file, &timestamps(entry.mtime)).map_err(failed("set the time"))?;
    Ok(skipped)
}

/// An attribute that the file system has no place for, or that this process may not set, is left
/// out and counted (1); other failures are errors.
pub(crate) fn tolerate(set: Result<(), Errno>, name: &[u8], subject: &str) -> Result<u64, Error> {
    match set {
        Ok(()) => Ok(0),
        Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(1),
        Err(e) => Err(Error::io(subject, &format!("set the attribute {}", shown(name)), e)),
    }
}
