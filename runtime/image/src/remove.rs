//! Images on their way out.

use crate::{Error, ImageService, Kind, Layers, Result, blocking, names::Meant};
use snapshot::{Name, SnapshotKind};
use std::io;
use store::{Collected, Digest, Image, Strays};

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its ID.
    pub image: Digest,
    /// Names that it lost.
    pub names: Vec<String>,
    /// It has no name left and is gone.
    pub is_gone: bool,
    /// Bytes freed on disk.
    pub freed: u64,
}

/// What a clean-up removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Images.
    pub images: Vec<Digest>,
    /// Blobs that nothing needed.
    pub blobs: usize,
    /// Unpacked layers that nothing needed.
    pub layers: usize,
    /// Unfinished downloads and other leftovers.
    pub strays: u64,
    /// Bytes freed on disk.
    pub freed: u64,
}

impl ImageService {
    /// Removes an image. By name, it only loses that name if it has others; by ID, it goes with
    /// all its names. What a container needs of it stays on disk until its lease ends.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Ambiguous`]; [`Kind::InUse`] when a lease is about the image
    /// and `force` is not set; the store fails.
    pub async fn remove(&self, text: &str, force: bool) -> Result<Removal> {
        let (service, text) = (self.clone(), text.to_owned());
        blocking(move || service.remove_now(&text, force)).await
    }

    fn remove_now(&self, text: &str, force: bool) -> Result<Removal> {
        let store = &self.inner.store;
        let meant = self.catalog().meant(text)?;
        let image = store.image(meant.image())?;
        let asked = |image: &Image| image.names.iter().filter(|name| !name.implied).count();
        let mut removal =
            Removal { image: image.id.clone(), names: Vec::new(), is_gone: true, freed: 0 };
        if let Meant::Name(name) = &meant
            && (asked(&image) > 1 || (name.implied && asked(&image) > 0))
        {
            store.remove_name(&name.name)?;
            removal.names.push(name.name.clone());
            removal.is_gone = false;
            return Ok(removal);
        }
        if !force && let Some(owner) = self.user_of(&image.id)? {
            return Err(Error::new(Kind::InUse, text, format!("is in use by {owner}")));
        }
        let gone = store.remove_image(&image.id)?;
        removal.names.extend(gone.names.into_iter().map(|name| name.name));
        removal.freed =
            self.collect(Strays::KeepFor(self.inner.settings.keep_partial))?.freed.bytes;
        Ok(removal)
    }

    fn user_of(&self, image: &Digest) -> Result<Option<String>> {
        let leases = self.inner.store.leases()?.into_iter();
        let mut of_image = leases.filter(|lease| lease.image.as_ref() == Some(image));
        Ok(of_image.next().map(|lease| lease.owner))
    }

    /// Spares an image from [`ImageService::prune`], or no longer.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Ambiguous`]; the store fails.
    pub async fn pin(&self, text: &str, pinned: bool) -> Result<()> {
        let (service, text) = (self.clone(), text.to_owned());
        blocking(move || {
            let meant = service.catalog().meant(&text)?;
            Ok(service.inner.store.pin(meant.image(), pinned)?)
        })
        .await
    }

    /// Removes images that nobody asked for any more (a tag moved on), with `unused` all that no
    /// lease is about; never pinned ones. Then what no image needs, and all leftovers of pulls
    /// and unpacking that nobody works on.
    ///
    /// # Errors
    /// The store or the disk fails.
    pub async fn prune(&self, unused: bool) -> Result<Pruned> {
        let service = self.clone();
        blocking(move || service.prune_now(unused)).await
    }

    fn prune_now(&self, unused: bool) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for image in self.inner.store.images()? {
            let is_asked_for = image.names.iter().any(|name| !name.implied);
            if image.pinned || (is_asked_for && !unused) || self.user_of(&image.id)?.is_some() {
                continue;
            }
            self.inner.store.remove_image(&image.id)?;
            pruned.images.push(image.id);
        }
        let collected = self.collect(Strays::Remove)?;
        pruned.blobs = collected.blobs.len();
        pruned.layers = collected.layers.len();
        pruned.strays = collected.strays;
        pruned.freed = collected.freed.bytes;
        Ok(pruned)
    }

    /// Frees what nothing needs any more. Unfinished downloads are kept for the time that the
    /// settings say.
    ///
    /// # Errors
    /// The store or the disk fails.
    pub async fn free(&self) -> Result<u64> {
        let service = self.clone();
        let keep = Strays::KeepFor(self.inner.settings.keep_partial);
        blocking(move || Ok(service.collect(keep)?.freed.bytes)).await
    }

    fn collect(&self, strays: Strays) -> Result<Collected> {
        let mut collected = self.inner.store.collect(strays, &Unpacked(&self.inner.layers))?;
        if strays == Strays::Remove {
            match self.inner.layers.cleanup() {
                Ok(cleaned) => collected.strays += cleaned.removed + cleaned.broken.len() as u64,
                // Another pull is at work; its leftovers are none yet.
                Err(e) if e.kind() == snapshot::Kind::InUse => {}
                Err(e) => return Err(Error::snapshot(e)),
            }
        }
        Ok(collected)
    }
}

/// Unpacked layers as the store sees them.
struct Unpacked<'a>(&'a Layers);

impl Unpacked<'_> {
    /// How many layers are below one.
    fn depth(&self, name: &Name) -> usize {
        let parent = |name: &Name| self.0.stat(name).ok().and_then(|info| info.parent.clone());
        std::iter::successors(parent(name), parent).count()
    }
}

impl store::Unpacked for Unpacked<'_> {
    fn keys(&self) -> Vec<String> {
        let all = self.0.list().into_iter();
        let committed = all.filter(|info| info.kind == SnapshotKind::Committed);
        committed.map(|info| info.name.as_str().to_owned()).collect()
    }

    /// Topmost first. One that a container or another layer is built on stays until it is not.
    fn remove(&self, keys: &[String]) -> io::Result<()> {
        let failed = |e: snapshot::Error| io::Error::other(e.to_string());
        let names = keys.iter().map(|key| Name::new(key.as_str()).map_err(failed));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort_by_cached_key(|name| std::cmp::Reverse(self.depth(name)));
        for name in names {
            match self.0.remove(&name) {
                Err(e) if e.kind() == snapshot::Kind::InUse => {}
                removed => removed.map_err(failed)?,
            }
        }
        Ok(())
    }
}
