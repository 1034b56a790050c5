//! Files that are there whole or not at all.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether a file must outlive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// The data before the name, and the name before the call returns: two calls of fsync.
    Yes,
    /// For file systems in memory, or what a reboot makes worthless.
    No,
}

/// A directory of small files that are replaced as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    /// Where the files are.
    dir: PathBuf,
    /// Where they are written before they get their name: a place that no reader of `dir` sees,
    /// on the same file system.
    tmp: PathBuf,
}

impl Folder {
    pub(crate) fn new(dir: PathBuf, tmp: PathBuf) -> Folder {
        Folder { dir, tmp }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes `name` with mode 0600, making the directories with mode 0700 where they are not.
    pub(crate) fn write(&self, name: &str, bytes: &[u8], durable: Durable) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        make(&self.tmp, Durable::No)?;
        make(&self.dir, durable)?;
        // Shared by all that write; who cleans up takes it for itself.
        let _writing = lock(&self.tmp, FlockArg::LockShared)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let tmp = self.tmp.join(format!("{}.{count}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&tmp)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| if durable == Durable::Yes { file.sync_data() } else { Ok(()) })
            .and_then(|()| fs::rename(&tmp, self.file(name)));
        if let Err(e) = written {
            // The first failure is the one to tell; a file that stays is cleaned later.
            let _kept = fs::remove_file(&tmp);
            return Err(e);
        }
        if durable == Durable::Yes { File::open(&self.dir)?.sync_all() } else { Ok(()) }
    }

    /// The content of `name`; `None` if there is no such file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.file(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Removes `name`, which need not be there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// The names of all files, sorted. A directory that is not there is empty.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        names(&self.dir)
    }

    /// Removes what writers that were killed left behind. Does nothing while someone writes.
    pub(crate) fn clean(&self) -> io::Result<()> {
        let leftovers = names(&self.tmp)?;
        if leftovers.is_empty() {
            return Ok(());
        }
        match lock(&self.tmp, FlockArg::LockExclusiveNonblock) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e),
            Ok(_alone) => {
                for name in names(&self.tmp)? {
                    fs::remove_file(self.tmp.join(name))?;
                }
                Ok(())
            }
        }
    }
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn lock(dir: &Path, how: FlockArg) -> io::Result<Flock<File>> {
    Flock::lock(File::open(dir)?, how).map_err(|(_, errno)| errno.into())
}

/// Makes `dir` with mode 0700, and what is missing above it.
pub(crate) fn make(dir: &Path, durable: Durable) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    match dir.parent() {
        Some(parent) if durable == Durable::Yes => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
