//! Whiteouts (image-spec, layer.md, "Whiteouts").

use super::{Options, Whiteouts};
use crate::error::{Error, Kind, shown};
use crate::{OPAQUE_MARKER, WHITEOUT_PREFIX};
use rustix::fs::{FileType, Mode, OFlags, XattrFlags, fsetxattr, mknodat, openat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// What a name in a layer means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// Itself.
    Plain,
    /// The file of this name is gone.
    Gone(&'a [u8]),
    /// Everything that lower layers have in its directory is gone.
    Opaque,
    /// Bookkeeping of an old union file system.
    Ignored,
}

/// Reads the last name of an entry.
pub(crate) fn meaning<'a>(path: &[u8], name: &'a [u8]) -> Result<Meaning<'a>, Error> {
    let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX.as_bytes()) else {
        return Ok(Meaning::Plain);
    };
    if name == OPAQUE_MARKER.as_bytes() {
        return Ok(Meaning::Opaque);
    }
    if hidden.starts_with(WHITEOUT_PREFIX.as_bytes()) {
        return Ok(Meaning::Ignored);
    }
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(Error::new(Kind::Whiteout, shown(path), "hides no file of its directory"));
    }
    Ok(Meaning::Gone(hidden))
}

/// Whether a directory of the path has a name that only whiteouts have.
pub(crate) fn within_whiteout(parent: &[u8]) -> bool {
    parent.split(|c| *c == b'/').any(|name| name.starts_with(WHITEOUT_PREFIX.as_bytes()))
}

/// Marks `name` in `dir` as gone. True when it now is a node of its own; false when the layer has
/// something of that name itself, which hides the lower one already.
pub(crate) fn hide(
    dir: BorrowedFd<'_>,
    name: &[u8],
    options: &Options,
    path: &[u8],
) -> Result<bool, Error> {
    if options.whiteouts == Whiteouts::Files {
        let name = [WHITEOUT_PREFIX.as_bytes(), name].concat();
        return touch(dir, &name, path);
    }
    match mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let parent = openat(dir, name, flags, Mode::empty());
            match parent {
                // A directory beside its own whiteout starts anew.
                Ok(own) => {
                    drop(own);
                    let flags =
                        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let own = openat(dir, name, flags, Mode::empty())
                        .map_err(|e| Error::io(shown(path), "open", e))?;
                    make_opaque(own.as_fd(), options, path).map(|_| false)
                }
                Err(_) => Ok(false),
            }
        }
        Err(e) => Err(Error::io(shown(path), "make a whiteout", e)),
    }
}

/// Marks that nothing of lower layers shows in `dir`. True when that made a file.
pub(crate) fn make_opaque(
    dir: BorrowedFd<'_>,
    options: &Options,
    path: &[u8],
) -> Result<bool, Error> {
    let name = match options.whiteouts {
        Whiteouts::Files => return touch(dir, OPAQUE_MARKER.as_bytes(), path),
        Whiteouts::Overlay => "trusted.overlay.opaque",
        Whiteouts::UserOverlay => "user.overlay.opaque",
    };
    fsetxattr(dir, name, b"y", XattrFlags::empty())
        .map_err(|e| Error::io(shown(path), "mark the directory as opaque", e))?;
    Ok(false)
}

fn touch(dir: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<bool, Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::from_raw_mode(0o600)) {
        Ok(_) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(Error::io(shown(path), "make a whiteout", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings() {
        for (name, want) in [
            ("a", Meaning::Plain),
            (".wh", Meaning::Plain),
            (".wh.a", Meaning::Gone(b"a")),
            (".wh..a", Meaning::Gone(b".a")),
            (".wh....", Meaning::Gone(b"...")),
            (".wh..wh..opq", Meaning::Opaque),
            (".wh..wh.aufs", Meaning::Ignored),
        ] {
            assert_eq!(meaning(b"x", name.as_bytes()).unwrap(), want, "{name}");
        }
        for name in [".wh.", ".wh..", ".wh..."] {
            let error = meaning(b"x", name.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), Kind::Whiteout, "{name}");
        }
        assert!(within_whiteout(b"a/.wh.b/c"));
        assert!(!within_whiteout(b"a/b.wh.c"));
    }
}
