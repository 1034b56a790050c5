//! Whether pods can be made on this node, as far as that is not the network's to say.

use crate::sandboxes::{Shared, blocking};
use crate::{Error, Kind, Result};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that is written and removed again.
const PROBE: &str = ".writable";

/// What is written: enough that the file system needs room for it.
const CONTENT: [u8; 4096] = [b'.'; 4096];

/// Looks whether the directories can be written and the shim can be run. A file system that hangs
/// keeps this waiting.
///
/// # Errors
/// [`Kind::Unavailable`] with what is wrong.
pub(crate) async fn find_out(shared: Arc<Shared>) -> Result<()> {
    blocking(move || {
        let settings = &shared.settings;
        shim(&settings.shim)?;
        [&settings.run_dir, &settings.state_dir].into_iter().try_for_each(|dir| writable(dir))
    })
    .await
}

fn shim(path: &Path) -> Result<()> {
    let wrong = |cause: &dyn std::fmt::Display| {
        let e = Error::new(Kind::Unavailable, format!("shim {}", path.display()), cause);
        e.with_advice("install podloom-shim there, or set files.shim to where it is")
    };
    let meta = fs::metadata(path).map_err(|e| wrong(&e))?;
    match meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
        true => Ok(()),
        false => Err(wrong(&"is no program")),
    }
}

fn writable(dir: &Path) -> Result<()> {
    let probe: PathBuf = dir.join(PROBE);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&probe).and_then(|mut file| file.write_all(&CONTENT));
    // Also one that was cut short; a directory in which nothing can be made has none.
    let removed = match fs::remove_file(&probe) {
        Err(e) if written.is_ok() => Err(e),
        _ => Ok(()),
    };
    written.and(removed).map_err(|e| {
        let e = Error::new(Kind::Unavailable, format!("directory {}", dir.display()), e);
        e.with_advice("pods keep their records there: make room, or mount it writable again")
    })
}
