//! Files and directories, made durable; the lock of the store.

use crate::{Digest, Error, Result, Space};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the lock may be held by nobody who counts.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How often is looked for it.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The store's directories.
#[derive(Debug)]
pub(crate) struct Dirs {
    pub(crate) root: PathBuf,
}

impl Dirs {
    /// Makes what is missing. Only root may look inside: images may hold secrets.
    pub(crate) fn make(root: &Path) -> Result<Dirs> {
        let dirs = Dirs { root: root.to_owned() };
        let blobs = crate::Algorithm::ALL.map(|algorithm| dirs.blobs(algorithm.name()));
        for dir in [dirs.ingest(), dirs.records(), dirs.trash()].iter().chain(&blobs) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(Error::io("make the directory", dir))?;
        }
        Ok(dirs)
    }

    pub(crate) fn blobs(&self, algorithm: &str) -> PathBuf {
        self.root.join("blobs").join(algorithm)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm().name()).join(digest.hex())
    }

    pub(crate) fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.ingest().join(digest.as_str().replace(':', "-"))
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    pub(crate) fn record(&self, image: &Digest) -> PathBuf {
        self.records().join(format!("{}.json", image.as_str().replace(':', "-")))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("meta.redb")
    }

    fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// Moves `path` out of the way at once; [`Dirs::empty_trash`] deletes it. Nothing to move is
    /// fine.
    pub(crate) fn discard(&self, path: &Path) -> Result<()> {
        match fs::rename(path, self.trash().join(unique())) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            moved => moved.map_err(Error::io("move to the trash", path)),
        }
    }

    /// Deletes what was discarded.
    pub(crate) fn empty_trash(&self) -> Result<()> {
        for path in entries(&self.trash())? {
            match fs::remove_file(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                gone => gone.map_err(Error::io("delete", &path))?,
            }
        }
        Ok(())
    }
}

/// Paths of what is in a directory.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(dir).and_then(|list| list.map(|entry| Ok(entry?.path())).collect());
    read.map_err(Error::io("list the directory", dir))
}

/// A name that this machine has not used yet.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{}-{count}", now(), std::process::id())
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The kernel's ID of this boot; zero if it has none, which makes nothing outlive the process.
pub(crate) fn boot_id() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or_default()
}

/// Makes all that was written to the file system of `dir` durable.
pub(crate) fn sync_file_system(dir: &Path) -> Result<()> {
    let open = File::open(dir).map_err(Error::io("open", dir))?;
    rustix::fs::syncfs(&open).map_err(|e| Error::io("sync the file system", dir)(e.into()))
}

/// Makes the entries of `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|open| open.sync_all()).map_err(Error::io("sync the directory", dir))
}

/// Replaces a file so that after a power cut either the old or the new text is there.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    let fresh = dir.join(format!(".{}", unique()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh);
    let written = written.and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&fresh, path));
    if placed.is_err() {
        // Already failing; what is left is swept at the next start.
        let _left = fs::remove_file(&fresh);
    }
    placed.map_err(Error::io("write", path))?;
    sync_dir(dir)
}

/// What a file occupies.
pub(crate) fn space(meta: &fs::Metadata) -> Space {
    Space { bytes: meta.blocks() * 512, inodes: 1 }
}

/// The lock of the store: kept while the file is open.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    /// The last holder closed the store in this boot.
    pub(crate) was_closed: bool,
}

impl Lock {
    pub(crate) fn take(root: &Path, holder: &str) -> Result<Lock> {
        let path = root.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(Error::io("open the lock", &path))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(Error::io("read the lock", &path))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                // A program that a holder was starting when it was killed has the lock for a moment.
                Err(TryLockError::WouldBlock)
                    if begun.elapsed() < LOCK_WAIT && !names_a_process_that_lives(&text) =>
                {
                    std::thread::sleep(LOCK_RETRY);
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = if text.is_empty() { "another process" } else { text.trim_end() };
                    return Err(Error::InUse { root: root.to_owned(), holder: holder.to_owned() });
                }
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
            }
        }
        let mut lock = Lock { file, was_closed: text == closed_text() };
        let told = lock.tell(&format!("{holder} (process {})\n", std::process::id()));
        told.map_err(Error::io("write the lock", &path))?;
        Ok(lock)
    }

    fn tell(&mut self, text: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

/// The lock of a store that is closed, shared with others who look until the file is dropped. `None`
/// where the store is open, is not there, or was not closed in this boot.
pub(crate) fn share_lock_of_closed(root: &Path) -> Result<Option<File>> {
    let path = root.join("lock");
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open the lock", &path)(e)),
    };
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
    }
    // Read under the lock: who had it before may have said this just now.
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(Error::io("read the lock", &path))?;
    Ok((text == closed_text()).then_some(file))
}

/// What the lock says of a store that was closed in this boot.
fn closed_text() -> String {
    format!("closed in boot {:x}\n", boot_id())
}

/// Whether a lock's text, `HOLDER (process NUMBER)`, is of somebody who is there.
fn names_a_process_that_lives(text: &str) -> bool {
    let number =
        text.rsplit_once("(process ").and_then(|(_, rest)| rest.trim_end().strip_suffix(')'));
    let number = number.and_then(|number| number.parse::<u32>().ok());
    number.is_some_and(|number| Path::new("/proc").join(number.to_string()).exists())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Untold, the next holder checks the database once more: slower, not wrong.
        let _untold = self.tell(&closed_text());
    }
}
