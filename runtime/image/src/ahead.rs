//! Writes out what has come while the rest still comes, so that the sync before the commit has
//! little left to wait for.

use crate::{Error, Kind, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// Syncs under way and done, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    busy: Arc<AtomicBool>,
    syncs: Mutex<Vec<JoinHandle<Result<()>>>>,
}

impl Ahead {
    /// Starts to write out the file system of `dir`; nothing if that is under way.
    pub(crate) fn start(&self, dir: &Path) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let (busy, dir) = (Arc::clone(&self.busy), dir.to_owned());
        let sync = tokio::task::spawn_blocking(move || {
            let outcome = sync(&dir);
            busy.store(false, Ordering::Release);
            outcome
        });
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner).push(sync);
    }

    /// Waits for what was started. A failure counts: the kernel tells each only once, so the sync
    /// before the commit need not hear of it.
    pub(crate) async fn wait(&self) -> Result<()> {
        let started =
            std::mem::take(&mut *self.syncs.lock().unwrap_or_else(PoisonError::into_inner));
        for sync in started {
            let ended = |e| Error::new(Kind::Io, "a thread", format!("ended early: {e}"));
            sync.await.map_err(ended)??;
        }
        Ok(())
    }
}

fn sync(dir: &PathBuf) -> Result<()> {
    let open = File::open(dir).map_err(|e| Error::io("open", dir, &e))?;
    rustix::fs::syncfs(&open).map_err(|e| Error::io("sync the file system of", dir, &e.into()))
}
