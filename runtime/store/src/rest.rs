//! Looking at a store that nobody has open.

use crate::disk::{self, Dirs};
use crate::meta;
use crate::rows;
use crate::store::Store;
use crate::{Image, Result};
use std::path::Path;

impl Store {
    /// All images with their names, sorted by ID, of a store that nobody has open and that was
    /// closed in this boot. Nothing is written, so that any number of processes may look at once,
    /// and none waits for the disk.
    ///
    /// `None` where that cannot be told: [`Store::open`] makes, repairs, or says who has it.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the lock cannot be read.
    pub fn images_at_rest(root: &Path) -> Result<Option<Vec<Image>>> {
        let dirs = Dirs { root: root.to_owned() };
        let Some(_lock) = disk::share_lock_of_closed(root)? else { return Ok(None) };
        // What is wrong with the database is told, and mended, by opening it.
        Ok(meta::read_at_rest(&dirs, rows::images).ok())
    }
}
