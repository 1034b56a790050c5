//! The program of all shims, in memory once.
//!
//! A process that a container is made of is an image of the shim's executable until it executes the
//! container's program, and could be tricked to run the former inside the container, which could then
//! write to it (CVE-2019-5736). A sealed file in memory cannot be written to by anybody. All shims
//! that this daemon starts run from the same one, so they share its pages.

use crate::{Result, io};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What tells a file from the one that replaces it.
type Version = (u64, u64, u64, i64, i64);

/// Programs by their path.
type Loaded = HashMap<PathBuf, (Version, Arc<OwnedFd>)>;

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// The program as a sealed file; `None` where this host allows no executable files in memory.
pub(crate) fn load(path: &Path) -> Result<Option<Arc<OwnedFd>>> {
    let subject = path.display().to_string();
    let found = std::fs::metadata(path).map_err(|error| {
        io(&subject, "shim's program", error).advise("install podloom-shim, or correct its path")
    })?;
    let version = (found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = loaded.get_or_insert_default();
    if let Some((known, file)) = loaded.get(path)
        && *known == version
    {
        return Ok(Some(Arc::clone(file)));
    }
    let Ok(file) = rustix::fs::memfd_create(
        "podloom-shim",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::EXEC,
    )
    // Kernels before 6.3 do not know the flag, and make every such file executable.
    .or_else(|_| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        rustix::fs::memfd_create("podloom-shim", flags)
    }) else {
        return Ok(None);
    };
    let bytes = std::fs::read(path).map_err(|error| io(&subject, "read", error))?;
    let mut left = &bytes[..];
    while !left.is_empty() {
        let written =
            rustix::io::write(&file, left).map_err(|errno| io(&subject, "copy", errno))?;
        left = &left[written..];
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(file.as_fd(), seals)
        .map_err(|errno| io(&subject, "seal", errno))?;
    let file = Arc::new(file);
    loaded.insert(path.to_owned(), (version, Arc::clone(&file)));
    Ok(Some(file))
}
