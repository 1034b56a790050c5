//! What a shim leaves: records of exits, pinned namespaces.

use crate::{Result, io};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use shim_protocol::{EXITS, Exit, NAMESPACES};
use std::io::ErrorKind;
use std::path::Path;

/// The exits that a shim recorded and whose containers were not removed; for one that is gone.
/// Records that cannot be understood are left out. Blocks, briefly.
///
/// # Errors
/// The directory cannot be read.
pub fn exits(dir: &Path) -> Result<Vec<Exit>> {
    let exits = dir.join(EXITS);
    let entries = match std::fs::read_dir(&exits) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| io(exits.display().to_string(), "read", error))?,
    };
    // One being written has another name for a moment, and is no JSON if the shim died then.
    Ok(entries
        .filter_map(|entry| std::fs::read(entry.ok()?.path()).ok())
        .filter_map(|text| serde_json::from_slice(&text).ok())
        .collect())
}

/// Takes the pinned namespaces of a pod away: those below the shim's directory, and the network
/// namespace at its own path. Does nothing where there are none. Blocks, briefly.
///
/// # Errors
/// One cannot be unmounted or removed.
pub fn unpin(dir: &Path, net: Option<&Path>) -> Result<()> {
    let pins = dir.join(NAMESPACES);
    let below = match std::fs::read_dir(&pins) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        other => other
            .map_err(|error| io(pins.display().to_string(), "read", error))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect(),
    };
    below.iter().map(|path| path.as_path()).chain(net).try_for_each(unpin_one)
}

fn unpin_one(path: &Path) -> Result<()> {
    let fail = |what, error: std::io::Error| io(path.display().to_string(), what, error);
    loop {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // There may be one over another.
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(fail("unmount", errno.into())),
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(fail("remove", error)),
        _ => Ok(()),
    }
}
