//! Records of how containers ended: they outlive the shim.

use crate::error::{Result, io};
use shim_protocol::{EXITS, Exit};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

fn file(dir: &Path, id: &str) -> PathBuf {
    dir.join(EXITS).join(id)
}

/// Keeps the exit of a container, whole or not at all.
pub(crate) fn write(dir: &Path, exit: &Exit) -> Result<()> {
    let path = file(dir, &exit.id);
    let fail = |error| io(path.display().to_string(), "write", error);
    let text = serde_json::to_vec(exit).map_err(|error| fail(error.into()))?;
    // A name that no container has.
    let early = path.with_file_name(format!(".{}", exit.id));
    std::fs::write(&early, text)
        .or_else(|error| {
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            std::fs::create_dir_all(dir.join(EXITS))?;
            std::fs::write(&early, serde_json::to_vec(exit)?)
        })
        .and_then(|()| std::fs::rename(&early, &path))
        .map_err(fail)
}

/// Forgets it.
pub(crate) fn remove(dir: &Path, id: &str) -> Result<()> {
    let path = file(dir, id);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(io(path.display().to_string(), "remove", error))
        }
        _ => Ok(()),
    }
}
