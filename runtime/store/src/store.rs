//! The store as a whole: opened, locked, closed.

use crate::disk::{self, Dirs, Lock};
use crate::meta::Meta;
use crate::{Digest, Error, Result, Space};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Content and metadata of images below one directory. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) dirs: Dirs,
    pub(crate) meta: Meta,
    pub(crate) state: Mutex<State>,
    /// Changes of images happen one at a time: each rewrites a record.
    pub(crate) changing: Mutex<()>,
    pub(crate) boot: u128,
    // Last, so that the database is closed before another process can take the lock.
    _lock: Lock,
}

/// What is known in memory only; it ends with the process, as the lock does.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// How many holds keep a blob.
    pub(crate) held_blobs: HashMap<Digest, usize>,
    /// How many holds keep an unpacked layer.
    pub(crate) held_layers: HashMap<String, usize>,
    /// Blobs being written.
    pub(crate) writing: HashSet<Digest>,
    /// Whole and verified, but not durable: size and space.
    pub(crate) pending_blobs: HashMap<Digest, (u64, Space)>,
    /// Unpacked layers that are whole, but not durable.
    pub(crate) pending_layers: HashMap<String, Space>,
}

/// Held by who changes images. Once it is dropped, what was read of them before does not count any
/// more, also where the change failed: how far it came is not known.
pub(crate) struct Changing<'a> {
    meta: &'a Meta,
    _alone: MutexGuard<'a, ()>,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.meta.images_changed();
    }
}

impl Store {
    /// Opens the store below `root` and makes it if it is not there. `holder` is who is named to
    /// another process that finds the store locked, like `podloom image pull`.
    ///
    /// A database that is damaged is set aside (`damaged-*.redb`) and rebuilt from the images'
    /// records.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it open; [`Error::Io`] and [`Error::Database`]
    /// when the disk fails.
    pub fn open(root: &Path, holder: &str) -> Result<Store> {
        let dirs = Dirs::make(root)?;
        let lock = Lock::take(root, holder)?;
        dirs.empty_trash()?;
        for path in disk::entries(&dirs.records())? {
            let is_whole = path.extension().is_some_and(|e| e == "json");
            if !is_whole {
                fs::remove_file(&path).map_err(Error::io("delete", &path))?;
            }
        }
        // A check reads the whole database and writes to it: not for a listing after a clean end.
        let meta = Meta::open(Dirs { root: root.to_owned() }, !lock.was_closed)?;
        let inner = Inner {
            dirs,
            meta,
            state: Mutex::default(),
            changing: Mutex::default(),
            boot: disk::boot_id(),
            _lock: lock,
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Another number after each change of images or their names, by when whoever changed them is told.
    /// What was read of them after it was looked at is true as long as it stays.
    #[must_use]
    pub fn images_version(&self) -> u64 {
        self.inner.meta.images_version()
    }

    /// The store's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.dirs.root
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is a single insertion or removal: a panic leaves it sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changing(&self) -> Changing<'_> {
        let alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        Changing { meta: &self.meta, _alone: alone }
    }
}
