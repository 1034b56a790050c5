//! Copying single files with everything they are.

use crate::error::{Error, Kind};
use crate::implied::times;
use crate::record::Ids;
use layer::{Found, read_xattrs};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, XattrFlags, chmodat, chownat, copy_file_range, fchmod,
    ioctl_ficlone, lsetxattr, mknodat, openat, readlinkat, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Bytes asked for in one call.
const PIECE: usize = 1 << 30;

/// Copies what `found` is, but no directory, to the same name in `to`, where nothing is.
pub(crate) fn copy(
    found: &Found<'_>,
    to: BorrowedFd<'_>,
    ids: Option<&Ids>,
    own: &Path,
) -> Result<(), Error> {
    let failed = |doing: &'static str| move |e: Errno| Error::io(own, doing, e);
    let name = found.name;
    match found.file_type {
        FileType::RegularFile => copy_data(found, to, own)?,
        FileType::Symlink => {
            let text = readlinkat(found.dir, name, Vec::new()).map_err(failed("read a link"))?;
            symlinkat(&text, to, name).map_err(failed("make a link"))?;
        }
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
            mknodat(to, name, found.file_type, Mode::RUSR | Mode::WUSR, found.stat.st_rdev)
                .map_err(failed("make a device"))?;
        }
        other => {
            let detail = format!("a file of type {other:?} cannot be copied");
            return Err(Error::new(Kind::Unsupported, own.display(), detail));
        }
    }
    describe(found, to, ids, own)
}

fn copy_data(found: &Found<'_>, to: BorrowedFd<'_>, own: &Path) -> Result<(), Error> {
    let failed = |doing: &'static str| move |e: Errno| Error::io(own, doing, e);
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = openat(found.dir, found.name, read, Mode::empty()).map_err(failed("open"))?;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let into = openat(to, found.name, write, Mode::RUSR | Mode::WUSR).map_err(failed("make"))?;
    if found.stat.st_size == 0 || ioctl_ficlone(&into, &from).is_ok() {
        return Ok(());
    }
    loop {
        match copy_file_range(&from, None, &into, None, PIECE) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(e) => return Err(failed("copy")(e)),
        }
    }
    let copied = io::copy(&mut File::from(from), &mut File::from(into));
    copied.map(drop).map_err(|e| Error::io(own, "copy", e))
}

/// Owner, mode, attributes and times of `found` for its copy in `to`.
pub(crate) fn describe(
    found: &Found<'_>,
    to: BorrowedFd<'_>,
    ids: Option<&Ids>,
    own: &Path,
) -> Result<(), Error> {
    let failed = |doing: &'static str| move |e: Errno| Error::io(own, doing, e);
    let (name, stat) = (found.name, &found.stat);
    let owner = match ids {
        Some(ids) => ids.map(stat.st_uid, stat.st_gid).ok_or_else(|| {
            let detail = format!("owner {}:{} has no place in ids", stat.st_uid, stat.st_gid);
            Error::new(Kind::Invalid, String::from_utf8_lossy(found.path), detail)
        })?,
        None => (stat.st_uid, stat.st_gid),
    };
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("set the owner"))?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if found.file_type != FileType::Symlink {
        chmodat(to, name, mode, AtFlags::empty()).map_err(failed("set the mode"))?;
    }
    let xattrs = read_xattrs(found.dir, Some(name));
    for (attribute, value) in xattrs.map_err(|e| Error::tree(own, "read attributes", e))? {
        let mut path = format!("/proc/self/fd/{}/", to.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        match lsetxattr(path.as_slice(), attribute.as_slice(), &value, XattrFlags::empty()) {
            Ok(()) => {}
            // The security module sets its own labels.
            Err(Errno::OPNOTSUPP | Errno::PERM) if attribute.starts_with(b"security.") => {}
            Err(e) => return Err(failed("set an attribute")(e)),
        }
    }
    utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("set the time"))
}

/// Makes a directory to be written to by the copy, whatever the umask.
pub(crate) fn make_open(dir: &OwnedFd) -> Result<(), Errno> {
    fchmod(dir, Mode::RWXU)
}
