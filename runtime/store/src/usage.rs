//! What the store occupies, known without walking it.

use crate::rows;
use crate::store::Store;
use crate::{Error, Result, Space, disk};
use std::fs;

/// Disk usage. Sums are kept in the transactions that change them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of blobs.
    pub blob_count: u64,
    /// Space of blobs.
    pub blobs: Space,
    /// Number of unpacked layers.
    pub layer_count: u64,
    /// Space of unpacked layers.
    pub layers: Space,
    /// Space of downloads that are not whole, and of whole ones of unfinished pulls.
    pub partial: Space,
}

impl Usage {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Space {
        self.blobs + self.layers + self.partial
    }
}

impl Store {
    /// What is occupied. Only the few files of unfinished downloads are looked at.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Io`].
    pub fn usage(&self) -> Result<Usage> {
        let (blobs, layers) = self.inner.meta.read(|txn| {
            let Some(table) = rows::opened(txn.open_table(rows::SUMS))? else {
                return Ok(((0, 0, 0), (0, 0, 0)));
            };
            let blobs = table.get(rows::OF_BLOBS)?.map(|row| row.value());
            let layers = table.get(rows::OF_LAYERS)?.map(|row| row.value());
            Ok((blobs.unwrap_or_default(), layers.unwrap_or_default()))
        })?;
        let mut partial = Space::default();
        for path in disk::entries(&self.inner.dirs.ingest())? {
            match fs::metadata(&path) {
                Ok(meta) => partial = partial + disk::space(&meta),
                // Became whole meanwhile.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("look at", &path)(e)),
            }
        }
        let state = self.inner.state();
        partial = partial + state.pending_blobs.values().map(|(_, space)| *space).sum();
        partial = partial + state.pending_layers.values().copied().sum();
        Ok(Usage {
            blob_count: blobs.0,
            blobs: Space { bytes: blobs.1, inodes: blobs.2 },
            layer_count: layers.0,
            layers: Space { bytes: layers.1, inodes: layers.2 },
            partial,
        })
    }
}
