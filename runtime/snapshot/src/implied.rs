//! Directories that a layer has files in without saying what they are like: they stay as the
//! layers beneath made them.

use crate::backend::Chain;
use crate::error::{Error, Kind};
use layer::{RelativePath, read_xattrs};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags, fchmod,
    fchown, fsetxattr, fstat, futimens, openat, openat2, statat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Names looked up for one layer: beyond, it is made to keep machines busy.
const MOST_STEPS: u64 = 4_000_000;

/// Gives the directories `implied` of the layer at `files` what the chain beneath says of them.
pub(crate) fn settle(
    files: BorrowedFd<'_>,
    implied: &[RelativePath],
    chain: &Chain,
    own: &Path,
) -> Result<(), Error> {
    let mut steps = 0;
    for path in implied {
        let Some(lower) = find(chain, path, &mut steps)? else { continue };
        let upper = if path.is_root() {
            openat(files, ".", DIRECTORY, Mode::empty())
        } else {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            openat2(files, path.as_bytes(), DIRECTORY, Mode::empty(), resolve)
        };
        match upper {
            Ok(upper) => copy_attributes(&lower, &upper, own)?,
            Err(e) => return Err(Error::io(own, "open a directory of the layer", e)),
        }
    }
    Ok(())
}

/// The directory that shows at `path` in the chain.
fn find(chain: &Chain, path: &RelativePath, steps: &mut u64) -> Result<Option<OwnedFd>, Error> {
    for (_, top) in &chain.layers {
        match look(top, path, steps)? {
            Look::Found(dir) => return Ok(Some(dir)),
            Look::Hidden => return Ok(None),
            Look::Below => {}
        }
    }
    Ok(None)
}

enum Look {
    Found(OwnedFd),
    /// The layer hides it from those beneath.
    Hidden,
    /// The layer says nothing.
    Below,
}

fn look(top: &Path, path: &RelativePath, steps: &mut u64) -> Result<Look, Error> {
    let failed = |e: Errno| Error::io(top, "look up a directory", e);
    let mut dir = rustix::fs::open(top, DIRECTORY, Mode::empty()).map_err(failed)?;
    let mut hidden = false;
    for name in path.as_bytes().split(|c| *c == b'/').filter(|name| !name.is_empty()) {
        *steps += 1;
        if *steps > MOST_STEPS {
            let detail = "too many directories are named without being described";
            return Err(Error::new(Kind::Layer(layer::Kind::Limit), top.display(), detail));
        }
        hidden |= is_opaque(dir.as_fd());
        let whiteout = [layer::WHITEOUT_PREFIX.as_bytes(), name].concat();
        // A name with the prefix may be too long to be one: then it is not there.
        hidden |= statat(&dir, whiteout.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        match openat(&dir, name, DIRECTORY, Mode::empty()) {
            Ok(next) => dir = next,
            Err(Errno::NOENT) if hidden => return Ok(Look::Hidden),
            Err(Errno::NOENT) => return Ok(Look::Below),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Look::Hidden),
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(Look::Found(dir))
}

fn is_opaque(dir: BorrowedFd<'_>) -> bool {
    let mut value = [0; 4];
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        rustix::fs::fgetxattr(dir, *name, value.as_mut_slice()).is_ok_and(|n| n == 1)
            && value[0] == b'y'
    }) || statat(dir, layer::OPAQUE_MARKER, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Mode, owner, attributes and times of one directory for another; marks of an overlay stay.
pub(crate) fn copy_attributes(from: &OwnedFd, to: &OwnedFd, own: &Path) -> Result<(), Error> {
    let failed = |doing: &'static str| move |e: Errno| Error::io(own, doing, e);
    let stat = fstat(from).map_err(failed("stat"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(failed("copy attributes")(Errno::NOTDIR));
    }
    let now = fstat(to).map_err(failed("stat"))?;
    if (stat.st_uid, stat.st_gid) != (now.st_uid, now.st_gid) {
        fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
            .map_err(failed("set the owner"))?;
    }
    let xattrs = read_xattrs(from.as_fd(), None);
    for (name, value) in xattrs.map_err(|e| Error::tree(own, "read attributes", e))? {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        fsetxattr(to, name.as_slice(), &value, XattrFlags::empty())
            .map_err(failed("set an attribute"))?;
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    fchmod(to, mode).map_err(failed("set the mode"))?;
    futimens(to, &times(&stat)).map_err(failed("set the time"))
}

/// The times of a file, to be set on another.
pub(crate) fn times(stat: &rustix::fs::Stat) -> Timestamps {
    let nanoseconds = |value: u64| i64::try_from(value).unwrap_or(0);
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanoseconds(stat.st_atime_nsec) },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: nanoseconds(stat.st_mtime_nsec),
        },
    }
}
