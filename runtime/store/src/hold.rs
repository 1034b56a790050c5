//! Holds: what work under way needs is not collected.

use crate::store::{Inner, Store};
use crate::{Digest, Result, Space, rows};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps blobs and layers from being collected until it is dropped. It is taken before one looks
/// whether they are there. Ends with the process.
#[derive(Debug)]
pub struct Hold {
    inner: Arc<Inner>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    blobs: Vec<Digest>,
    layers: Vec<String>,
}

impl Store {
    /// A hold on nothing yet.
    #[must_use]
    pub fn hold(&self) -> Hold {
        Hold { inner: Arc::clone(&self.inner), kept: Mutex::default() }
    }

    /// Notes an unpacked layer that is whole on disk but perhaps not durable. It becomes known
    /// durably with the first image that is committed with it.
    pub fn add_layer(&self, key: &str, space: Space) {
        self.inner.state().pending_layers.insert(key.to_owned(), space);
    }

    /// The space of an unpacked layer, if it is known to be whole.
    ///
    /// # Errors
    /// When the database fails.
    pub fn layer(&self, key: &str) -> Result<Option<Space>> {
        if let Some(space) = self.inner.state().pending_layers.get(key) {
            return Ok(Some(*space));
        }
        self.inner.meta.read(|txn| {
            let Some(table) = rows::opened(txn.open_table(rows::LAYERS))? else { return Ok(None) };
            Ok(table.get(key)?.map(|row| rows::layer_row(row.value())))
        })
    }

    /// Forgets an unpacked layer that was found to be missing or wrong on disk.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_layer(&self, key: &str) -> Result<()> {
        self.inner.state().pending_layers.remove(key);
        self.inner.meta.write(|txn| rows::drop_layer(txn, key).map(drop))
    }

    /// Keys of all unpacked layers that are known, durably or not.
    ///
    /// # Errors
    /// When the database fails.
    pub fn layers(&self) -> Result<Vec<String>> {
        let mut keys: Vec<String> = self.inner.state().pending_layers.keys().cloned().collect();
        keys.extend(self.inner.meta.read(|txn| {
            let mut keys = Vec::new();
            if let Some(table) = rows::opened(txn.open_table(rows::LAYERS))? {
                use redb::ReadableTable;
                for row in table.iter()? {
                    keys.push(row?.0.value().to_owned());
                }
            }
            Ok(keys)
        })?);
        keys.sort();
        keys.dedup();
        Ok(keys)
    }
}

impl Hold {
    /// Keeps a blob, there or to come.
    pub fn blob(&self, digest: &Digest) {
        *self.inner.state().held_blobs.entry(digest.clone()).or_default() += 1;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).blobs.push(digest.clone());
    }

    /// Keeps an unpacked layer, there or to come.
    pub fn layer(&self, key: &str) {
        *self.inner.state().held_layers.entry(key.to_owned()).or_default() += 1;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).layers.push(key.to_owned());
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        let mut state = self.inner.state();
        for digest in &kept.blobs {
            let_go(&mut state.held_blobs, digest);
        }
        for key in &kept.layers {
            let_go(&mut state.held_layers, key);
        }
    }
}

fn let_go<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
