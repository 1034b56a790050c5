//! Paths as the kernel gets them.

use crate::Error;
use crate::resolve::PATH_MAX;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A path in the container, cleaned and relative to its root; empty for the root itself.
///
/// # Errors
/// It has a zero byte or is too long.
pub(super) fn inside(path: &Path, subject: &str) -> Result<CString, Error> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            // As in a shell at the root: above it is the root.
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => (),
        }
    }
    text(&clean, subject)
}

/// A path on the host; a relative one starts at the bundle.
///
/// # Errors
/// It is empty, has a zero byte or is too long.
pub(super) fn host(path: &Path, bundle: &Path, subject: &str) -> Result<CString, Error> {
    if path.as_os_str().is_empty() {
        return Err(Error::invalid(subject, "is empty"));
    }
    text(&bundle.join(path), subject)
}

/// Any text for the kernel.
pub(super) fn text(path: &Path, subject: &str) -> Result<CString, Error> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= PATH_MAX {
        let cause = format!("a path of {} bytes; at most {}", bytes.len(), PATH_MAX - 1);
        return Err(Error::invalid(subject, cause));
    }
    CString::new(bytes).map_err(|_| Error::invalid(subject, "a path has a zero byte"))
}
