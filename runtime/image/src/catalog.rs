//! Which images there are, as far as the store alone knows it.

use crate::{Details, ImageService, Result, Settings, Summary};
use registry::spec::ImageConfig;
use store::{Digest, Store};

/// The images of a store: listed, found, inspected. It does without the snapshotter, which reads a
/// record for each unpacked layer before it is open.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub(crate) store: Store,
}

impl Catalog {
    /// Opens the store only.
    ///
    /// # Errors
    /// [`Kind::InUse`](crate::Kind::InUse) with the process that has it open; or the disk fails.
    pub fn open(settings: &Settings) -> Result<Catalog> {
        Ok(Catalog { store: Store::open(&settings.store, &settings.holder)? })
    }

    /// All images of a store, sorted by ID. One that is closed is not opened for that: nothing is
    /// written, and others may list it at the same time.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn list_of(settings: &Settings) -> Result<Vec<Summary>> {
        match Store::images_at_rest(&settings.store)? {
            Some(images) => Ok(images.into_iter().map(Summary::from).collect()),
            None => Catalog::open(settings)?.list(),
        }
    }
}

impl ImageService {
    /// What only the store is asked for.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        Catalog { store: self.inner.store.clone() }
    }

    /// See [`Catalog::list`].
    ///
    /// # Errors
    /// As there.
    pub fn list(&self) -> Result<Vec<Summary>> {
        self.catalog().list()
    }

    /// See [`Catalog::resolve`].
    ///
    /// # Errors
    /// As there.
    pub fn resolve(&self, text: &str) -> Result<Summary> {
        self.catalog().resolve(text)
    }

    /// See [`Catalog::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, text: &str) -> Result<Option<Summary>> {
        self.catalog().get(text)
    }

    /// See [`Catalog::inspect`].
    ///
    /// # Errors
    /// As there.
    pub fn inspect(&self, text: &str) -> Result<Details> {
        self.catalog().inspect(text)
    }

    /// See [`Catalog::config`].
    ///
    /// # Errors
    /// As there.
    pub fn config(&self, id: &Digest) -> Result<ImageConfig> {
        self.catalog().config(id)
    }
}
