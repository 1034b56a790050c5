//! Images: committed, found, listed, removed.

use crate::disk;
use crate::model::{Contents, Image, Name, Space};
use crate::record::{self, Record};
use crate::rows::{self, BlobRow};
use crate::store::Store;
use crate::{Digest, Error, Result};
use redb::ReadTransaction;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Digests that a short ID may fit before it is called ambiguous without counting on.
const MATCHES: usize = 16;

/// An image that becomes known, whole or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What lists show of it.
    pub image: Image,
    /// What it consists of. Blobs and layers must be known, durably or not.
    pub contents: Contents,
    /// Names that mean it from now on.
    pub names: Vec<Name>,
    /// Directories on whose file systems its unpacked layers are, to be synced with its blobs.
    pub also_sync: Vec<PathBuf>,
    /// All of its content was synced after it was written, by whoever commits.
    pub synced: bool,
}

/// What became of an image of which a name was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The image that had the name.
    pub image: Digest,
    /// The names that it still has.
    pub left: Vec<Name>,
}

impl Store {
    /// Makes an image known, durably: all its content, then its record, then the metadata. An
    /// image that is known already gets the new names and the new manifest.
    ///
    /// # Errors
    /// [`Error::NoBlob`] when content or a layer is not there; [`Error::Io`] and
    /// [`Error::Database`] when the disk fails. The image is not known then.
    pub fn commit(&self, commit: &Commit) -> Result<()> {
        let blobs = self.blobs_of(commit)?;
        let layers = self.layers_of(commit)?;
        if !commit.synced {
            self.sync(commit)?;
        }
        let _alone = self.inner.changing();
        let record = self.merged(commit, layers)?;
        record.write(&self.inner.dirs)?;
        self.inner.meta.write(|txn| {
            for (digest, row) in &blobs {
                rows::put_blob(txn, digest, *row)?;
            }
            for (key, space) in &record.layers {
                rows::put_layer(txn, key, *space)?;
            }
            let id = record.image.id.as_str();
            rows::put(txn, rows::IMAGES, id, &record.image)?;
            rows::put(txn, rows::CONTENTS, id, &record.contents)?;
            for name in &commit.names {
                rows::put_name(txn, name)?;
            }
            Ok(())
        })?;
        let mut state = self.inner.state();
        for (digest, _) in &blobs {
            state.pending_blobs.remove(digest);
        }
        for key in record.layers.keys() {
            state.pending_layers.remove(key);
        }
        Ok(())
    }

    fn blobs_of(&self, commit: &Commit) -> Result<Vec<(Digest, BlobRow)>> {
        let mut rows = Vec::new();
        for digest in commit.contents.manifests.iter().flat_map(|manifest| &manifest.blobs) {
            let pending = self.inner.state().pending_blobs.get(digest).copied();
            let row = match pending {
                Some((size, space)) => Some(BlobRow { size, space, verified: self.inner.boot }),
                None => self.inner.meta.read(|txn| rows::blob(txn, digest))?,
            };
            let row = row.ok_or_else(|| Error::NoBlob { digest: digest.clone() })?;
            rows.push((digest.clone(), row));
        }
        Ok(rows)
    }

    fn layers_of(&self, commit: &Commit) -> Result<BTreeMap<String, Space>> {
        let space = |key: &String| {
            let space = self.layer(key)?;
            let missing = || Error::NoImage { name: format!("{key} (unpacked layer)") };
            Ok((key.clone(), space.ok_or_else(missing)?))
        };
        commit.contents.layers.iter().map(space).collect()
    }

    /// One sync a file system, whatever the number of blobs, layers and files.
    fn sync(&self, commit: &Commit) -> Result<()> {
        let root = self.root().to_owned();
        let mut devices = Vec::new();
        for dir in std::iter::once(&root).chain(&commit.also_sync) {
            let meta = std::fs::metadata(dir).map_err(Error::io("look at", dir))?;
            if !devices.contains(&meta.dev()) {
                disk::sync_file_system(dir)?;
                devices.push(meta.dev());
            }
        }
        Ok(())
    }

    /// The record of an image, with what is known of it already.
    fn merged(&self, commit: &Commit, layers: BTreeMap<String, Space>) -> Result<Record> {
        let id = &commit.image.id;
        let known =
            self.inner.meta.read(|txn| Ok(rows::image(txn, id)?.zip(rows::contents(txn, id)?)))?;
        let mut names = self.names_of(id)?;
        names.retain(|old| commit.names.iter().all(|new| new.name != old.name));
        names.extend(commit.names.iter().cloned());
        let (mut image, mut contents) = (commit.image.clone(), commit.contents.clone());
        if let Some((old, old_contents)) = known {
            image.added = old.added;
            image.pinned |= old.pinned;
            let is_new =
                |m: &crate::Manifest| contents.manifests.iter().all(|new| new.digest != m.digest);
            let mut manifests: Vec<_> =
                old_contents.manifests.into_iter().filter(|m| is_new(m)).collect();
            manifests.append(&mut contents.manifests);
            contents.manifests = manifests;
        }
        Ok(Record { image, contents, names, layers })
    }

    /// All images with their names, sorted by ID.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn images(&self) -> Result<Vec<Image>> {
        self.inner.meta.read(rows::images)
    }

    /// The image with an ID.
    ///
    /// # Errors
    /// [`Error::NoImage`]; [`Error::Database`].
    pub fn image(&self, id: &Digest) -> Result<Image> {
        let found = self.inner.meta.read(|txn| rows::image(txn, id))?;
        let mut image = found.ok_or_else(|| Error::NoImage { name: id.to_string() })?;
        image.names = self.names_of(id)?;
        Ok(image)
    }

    /// What an image consists of.
    ///
    /// # Errors
    /// [`Error::NoImage`]; [`Error::Database`].
    pub fn contents(&self, id: &Digest) -> Result<Contents> {
        let found = self.inner.meta.read(|txn| rows::contents(txn, id))?;
        found.ok_or_else(|| Error::NoImage { name: id.to_string() })
    }

    /// What a full name means.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn name(&self, name: &str) -> Result<Option<Name>> {
        let found = self.inner.meta.read(|txn| rows::get::<Name>(txn, rows::NAMES, name))?;
        Ok(found.map(|found| Name { name: name.to_owned(), ..found }))
    }

    /// The image of which `hex` is the beginning of the ID, or which has a manifest or index of
    /// that digest.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::Ambiguous`]; [`Error::Database`].
    pub fn by_prefix(&self, hex: &str) -> Result<Digest> {
        let mut matches = self.inner.meta.read(|txn| ids_from(txn, hex))?;
        if matches.is_empty() {
            matches = self.inner.meta.read(|txn| {
                let begins = |digest: &Digest| digest.hex().starts_with(hex);
                let names = rows::names(txn)?.into_iter();
                let fits = names.filter(|name| begins(&name.target) || begins(&name.manifest));
                Ok(fits.map(|name| name.image).collect())
            })?;
            matches.sort();
            matches.dedup();
        }
        match matches.as_slice() {
            [] => Err(Error::NoImage { name: hex.to_owned() }),
            [one] => Ok(one.clone()),
            _ => Err(Error::Ambiguous { id: hex.to_owned(), matches }),
        }
    }

    /// The names of an image, sorted.
    fn names_of(&self, id: &Digest) -> Result<Vec<Name>> {
        self.inner.meta.read(|txn| rows::names_of(txn, id))
    }

    /// Gives an image that is known more names.
    ///
    /// # Errors
    /// [`Error::NoImage`]; [`Error::Io`], [`Error::Database`].
    pub fn add_names(&self, id: &Digest, names: Vec<Name>) -> Result<()> {
        let (image, contents) = (self.image(id)?, self.contents(id)?);
        self.commit(&Commit { image, contents, names, also_sync: Vec::new(), synced: false })
    }

    /// Whether collections of unused images spare an image.
    ///
    /// # Errors
    /// [`Error::NoImage`]; [`Error::Io`], [`Error::Database`].
    pub fn pin(&self, id: &Digest, pinned: bool) -> Result<()> {
        let _alone = self.inner.changing();
        let mut record = self.record(id)?;
        record.image.pinned = pinned;
        record.write(&self.inner.dirs)?;
        self.inner.meta.write(|txn| rows::put(txn, rows::IMAGES, id.as_str(), &record.image))
    }

    fn record(&self, id: &Digest) -> Result<Record> {
        let (image, contents) = (self.image(id)?, self.contents(id)?);
        let spaces = |key: &String| Ok(self.layer(key)?.map(|space| (key.clone(), space)));
        let layers = contents.layers.iter().filter_map(|key| spaces(key).transpose());
        let layers = layers.collect::<Result<_>>()?;
        Ok(Record { names: image.names.clone(), image, contents, layers })
    }

    /// Removes a name. The image stays, also without any name.
    ///
    /// # Errors
    /// [`Error::NoImage`]; [`Error::Io`], [`Error::Database`].
    pub fn remove_name(&self, name: &str) -> Result<Removed> {
        let _alone = self.inner.changing();
        let known = self.name(name)?;
        let image = known.ok_or_else(|| Error::NoImage { name: name.to_owned() })?.image;
        self.inner.meta.write(|txn| rows::drop_name(txn, name))?;
        let record = self.record(&image)?;
        record.write(&self.inner.dirs)?;
        Ok(Removed { image, left: record.names })
    }

    /// Removes an image with all its names. Its content is what [`Store::collect`] then frees.
    ///
    /// # Errors
    /// [`Error::NoImage`]; [`Error::Io`], [`Error::Database`].
    pub fn remove_image(&self, id: &Digest) -> Result<Image> {
        let _alone = self.inner.changing();
        let image = self.image(id)?;
        self.inner.meta.write(|txn| {
            txn.open_table(rows::IMAGES)?.remove(id.as_str())?;
            txn.open_table(rows::CONTENTS)?.remove(id.as_str())?;
            for name in &image.names {
                rows::drop_name(txn, &name.name)?;
            }
            Ok(())
        })?;
        record::remove(&self.inner.dirs, id)?;
        Ok(image)
    }
}

/// IDs that begin with `hex`.
fn ids_from(txn: &ReadTransaction, hex: &str) -> crate::meta::Work<Vec<Digest>> {
    let mut found = Vec::new();
    let Some(table) = rows::opened(txn.open_table(rows::IMAGES))? else { return Ok(found) };
    for algorithm in crate::Algorithm::ALL {
        let begin = format!("{}:{hex}", algorithm.name());
        for row in table.range(begin.as_str()..)?.take(MATCHES) {
            let (key, value) = row?;
            if !key.value().starts_with(&begin) {
                break;
            }
            found.push(rows::decode::<Image>(key.value(), value.value())?.id);
        }
    }
    Ok(found)
}
