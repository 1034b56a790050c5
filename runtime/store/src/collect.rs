//! Garbage collection: what no image, lease or hold keeps is removed.

use crate::meta::{Fail, Work};
use crate::rows;
use crate::store::{State, Store};
use crate::{Contents, Digest, Error, Result, Space, disk};
use redb::{ReadTransaction, ReadableTable};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What to do with downloads that were begun by a pull which is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strays {
    /// Remove all.
    Remove,
    /// Keep those that were written to within this time, for the pull that goes on with them.
    KeepFor(Duration),
}

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that no image needed any more.
    pub blobs: Vec<Digest>,
    /// Unpacked layers that no image needed any more.
    pub layers: Vec<String>,
    /// Downloads that nobody was going on with.
    pub strays: u64,
    /// What was freed.
    pub freed: Space,
}

/// Who keeps the unpacked layers on disk.
pub trait Unpacked {
    /// Keys of all that are complete there.
    fn keys(&self) -> Vec<String>;

    /// Removes some. While it works, nobody can take a hold, so that nobody believes in a layer
    /// that is going.
    ///
    /// # Errors
    /// What the disk fails with; those that are left are found by the next collection.
    fn remove(&self, keys: &[String]) -> std::io::Result<()>;
}

/// What is kept.
#[derive(Debug, Default)]
struct Marked {
    blobs: HashSet<String>,
    layers: HashSet<String>,
}

/// What goes.
#[derive(Debug, Default)]
struct Doomed {
    blobs: Vec<Digest>,
    layers: Vec<String>,
    leases: Vec<String>,
}

impl Store {
    /// Removes blobs and layers that no image, valid lease or hold keeps, and strays.
    /// Layers are removed from `unpacked`; also those that it has and nobody here knows, as a kill
    /// between unpacking and the commit leaves them.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Database`]. What was not removed is found by the next collection.
    pub fn collect(&self, strays: Strays, unpacked: &dyn Unpacked) -> Result<Collected> {
        let mut collected = Collected::default();
        {
            let mut state = self.inner.state();
            self.sweep(&mut state, unpacked, &mut collected)?;
            self.sweep_strays(&mut state, strays, unpacked, &mut collected)?;
        }
        self.inner.dirs.empty_trash()?;
        Ok(collected)
    }

    fn sweep(
        &self,
        state: &mut State,
        unpacked: &dyn Unpacked,
        collected: &mut Collected,
    ) -> Result<()> {
        let doomed = self.inner.meta.read(|txn| self.doomed(txn, state))?;
        if doomed.blobs.is_empty() && doomed.layers.is_empty() && doomed.leases.is_empty() {
            return Ok(());
        }
        // Forgotten first: a file without a row is a stray, a row without its file a broken image.
        let freed = self.inner.meta.write(|txn| {
            let mut freed = Space::default();
            for digest in &doomed.blobs {
                freed = freed + rows::drop_blob(txn, digest.as_str())?.unwrap_or_default();
            }
            for key in &doomed.layers {
                freed = freed + rows::drop_layer(txn, key)?.unwrap_or_default();
            }
            for id in &doomed.leases {
                txn.open_table(rows::LEASES)?.remove(id.as_str())?;
            }
            Ok(freed)
        })?;
        collected.freed = collected.freed + freed;
        for digest in &doomed.blobs {
            self.inner.dirs.discard(&self.inner.dirs.blob(digest))?;
        }
        if !doomed.layers.is_empty() {
            unpacked.remove(&doomed.layers).map_err(|e| layers_failed(&doomed.layers, e))?;
        }
        collected.blobs = doomed.blobs;
        collected.layers = doomed.layers;
        Ok(())
    }

    fn doomed(&self, txn: &ReadTransaction, state: &State) -> Work<Doomed> {
        let mut doomed = Doomed::default();
        let marked = self.mark(txn, state, &mut doomed.leases)?;
        if let Some(table) = rows::opened(txn.open_table(rows::BLOBS))? {
            for row in table.iter()? {
                let key = row?.0;
                if !marked.blobs.contains(key.value()) {
                    let digest = key.value().parse();
                    doomed.blobs.push(digest.map_err(|e| Fail::damaged("blobs", &e))?);
                }
            }
        }
        if let Some(table) = rows::opened(txn.open_table(rows::LAYERS))? {
            for row in table.iter()? {
                let key = row?.0;
                if !marked.layers.contains(key.value()) {
                    doomed.layers.push(key.value().to_owned());
                }
            }
        }
        Ok(doomed)
    }

    fn mark(&self, txn: &ReadTransaction, state: &State, ended: &mut Vec<String>) -> Work<Marked> {
        let mut marked = Marked::default();
        let now = disk::now() / 1_000_000_000;
        for (_, contents) in rows::all::<Contents>(txn, rows::CONTENTS)? {
            let blobs = contents.manifests.into_iter().flat_map(|m| m.blobs);
            marked.blobs.extend(blobs.map(String::from));
            marked.layers.extend(contents.layers);
        }
        for (id, lease) in rows::leases(txn)? {
            if lease.is_valid(self.inner.boot, now) {
                marked.blobs.extend(lease.blobs.into_iter().map(String::from));
                marked.layers.extend(lease.layers);
            } else {
                ended.push(id);
            }
        }
        let held = state.held_blobs.keys().chain(&state.writing);
        marked.blobs.extend(held.map(Digest::to_string));
        marked.layers.extend(state.held_layers.keys().cloned());
        Ok(marked)
    }

    /// Files that no row, hold or writer of this process stands for.
    fn sweep_strays(
        &self,
        state: &mut State,
        strays: Strays,
        unpacked: &dyn Unpacked,
        collected: &mut Collected,
    ) -> Result<()> {
        let dirs = &self.inner.dirs;
        for algorithm in crate::Algorithm::ALL {
            for path in disk::entries(&dirs.blobs(algorithm.name()))? {
                let hex = path.file_name().unwrap_or_default().to_string_lossy();
                let digest = format!("{}:{hex}", algorithm.name()).parse::<Digest>().ok();
                if let Some(digest) = &digest {
                    let is_used = state.held_blobs.contains_key(digest);
                    let known = || self.inner.meta.read(|txn| rows::blob(txn, digest));
                    if is_used || known()?.is_some() {
                        continue;
                    }
                }
                if self.discard_stray(&path, strays, collected)?
                    && let Some(digest) = digest
                {
                    state.pending_blobs.remove(&digest);
                }
            }
        }
        let writing: HashSet<_> = state.writing.iter().map(|digest| dirs.partial(digest)).collect();
        for path in disk::entries(&dirs.ingest())? {
            // Those without a digest are deleted by whoever writes them, or were left by a kill.
            let is_unnamed = path.to_string_lossy().contains("/unnamed-");
            let is_ours = is_unnamed && path.to_string_lossy().contains(&our_mark());
            if !writing.contains(&path) && !is_ours {
                self.discard_stray(&path, strays, collected)?;
            }
        }
        if strays == Strays::Remove {
            let keys = unpacked.keys().into_iter().chain(state.pending_layers.keys().cloned());
            let idle: std::collections::BTreeSet<_> =
                keys.filter(|key| !state.held_layers.contains_key(key)).collect();
            let mut unknown = Vec::new();
            for key in idle {
                state.pending_layers.remove(&key);
                // Durable through an image that another pull committed meanwhile: not a stray.
                if self.layer_row(&key)?.is_none() {
                    unknown.push(key);
                }
            }
            if !unknown.is_empty() {
                unpacked.remove(&unknown).map_err(|e| layers_failed(&unknown, e))?;
                collected.strays += unknown.len() as u64;
            }
        }
        Ok(())
    }

    fn layer_row(&self, key: &str) -> Result<Option<Space>> {
        self.inner.meta.read(|txn| {
            let Some(table) = rows::opened(txn.open_table(rows::LAYERS))? else { return Ok(None) };
            Ok(table.get(key)?.map(|row| rows::layer_row(row.value())))
        })
    }

    fn discard_stray(
        &self,
        path: &Path,
        strays: Strays,
        collected: &mut Collected,
    ) -> Result<bool> {
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(e) => return Err(Error::io("look at", path)(e)),
        };
        if let Strays::KeepFor(time) = strays {
            let age = meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            // A time in the future says nothing: kept, as the clock may have been set.
            if age.is_none_or(|age| age < time) {
                return Ok(false);
            }
        }
        self.inner.dirs.discard(path)?;
        collected.strays += 1;
        collected.freed = collected.freed + disk::space(&meta);
        Ok(true)
    }
}

fn layers_failed(keys: &[String], error: std::io::Error) -> Error {
    Error::io("remove layers, the first", Path::new(keys.first().map_or("", String::as_str)))(error)
}

/// What names made by this process have in them.
fn our_mark() -> String {
    format!("-{}-", std::process::id())
}
