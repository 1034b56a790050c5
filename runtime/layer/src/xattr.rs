//! Extended attributes.

use crate::error::{Error, shown};
use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// Names and values of extended attributes.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Most bytes of the list of names, and of one value (xattr(7)).
const MOST_BYTES: usize = 64 << 10;

/// The attributes of the file at `fd`, or of `name` in the directory at `fd` without following it.
/// A file system without attributes has none. Sorted by name.
///
/// # Errors
/// [`Kind::Io`](crate::Kind::Io) when the kernel refuses.
pub fn read_xattrs(fd: BorrowedFd<'_>, name: Option<&[u8]>) -> Result<Xattrs, Error> {
    let path = name.map(|name| in_directory(fd, name));
    let failed = |e: Errno| Error::io(name.map(shown).unwrap_or_default(), "read attributes", e);
    let mut list = vec![0; MOST_BYTES];
    let listed = match &path {
        Some(path) => llistxattr(OsStr::from_bytes(path), list.as_mut_slice()),
        None => flistxattr(fd, list.as_mut_slice()),
    };
    let length = match listed {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    let mut value = vec![0; if length > 0 { MOST_BYTES } else { 0 }];
    for attribute in list[..length].split(|c| *c == 0).filter(|n| !n.is_empty()) {
        let read = match &path {
            Some(path) => lgetxattr(OsStr::from_bytes(path), attribute, value.as_mut_slice()),
            None => fgetxattr(fd, attribute, value.as_mut_slice()),
        };
        match read {
            Ok(length) => found.push((attribute.to_vec(), value[..length].to_vec())),
            // Gone meanwhile, or hidden from this process.
            Err(Errno::NODATA) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    found.sort();
    Ok(found)
}

/// A path that leads to `name` in the directory at `fd`, for the calls that know no descriptors.
/// `/proc/self/fd` names a descriptor's directory itself: nothing in between can be swapped.
pub(crate) fn in_directory(fd: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", fd.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Attributes that an overlay keeps its own notes in: from an image they would be orders to the
/// kernel (redirects into other layers, false opaque marks).
pub(crate) fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}
