//! Writes out what has come while the rest still comes, so that the sync before the commit has
//! little left to wait for.

use crate::{Error, Result, ended};
use std::fs::File;
use std::path::Path;
use tokio::task::JoinHandle;

/// Syncs that were started, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Vec<JoinHandle<Result<()>>>);

impl Ahead {
    /// Starts to write out the file system of `dir`; nothing if that is under way.
    pub(crate) fn start(&mut self, dir: &Path) {
        if self.0.last().is_some_and(|sync| !sync.is_finished()) {
            return;
        }
        let dir = dir.to_owned();
        self.0.push(tokio::task::spawn_blocking(move || sync(&dir)));
    }

    /// Waits for what was started. A failure counts: the kernel tells each only once, so the sync
    /// before the commit need not hear of it.
    pub(crate) async fn wait(self) -> Result<()> {
        for started in self.0 {
            started.await.map_err(ended)??;
        }
        Ok(())
    }
}

fn sync(dir: &Path) -> Result<()> {
    let open = File::open(dir).map_err(|e| Error::io("open", dir, &e))?;
    rustix::fs::syncfs(&open).map_err(|e| Error::io("sync the file system of", dir, &e.into()))
}
