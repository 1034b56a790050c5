//! All that is known of one image.

use crate::{Catalog, Result, Summary};
use registry::spec::{ImageConfig, MAX_CONFIG, MAX_MANIFEST};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use store::{Digest, Space};

/// An image in detail.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// What lists show.
    #[serde(flatten)]
    pub summary: Summary,
    /// Its manifest.
    pub manifest: Value,
    /// The manifest's digest.
    pub manifest_digest: Digest,
    /// Its configuration.
    pub config: Value,
    /// Labels, without those by which runtimes steer themselves.
    pub labels: BTreeMap<String, String>,
    /// Names of its unpacked layers in the snapshotter, lowest first.
    pub layers: Vec<String>,
    /// What its unpacked layers occupy, shared ones included.
    pub unpacked: Space,
}

impl Catalog {
    /// All that is known of an image.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound), [`Kind::Ambiguous`](crate::Kind::Ambiguous);
    /// [`Kind::Damaged`](crate::Kind::Damaged) when a document on disk is; the store fails.
    pub fn inspect(&self, text: &str) -> Result<Details> {
        let store = &self.store;
        let meant = self.meant(text)?;
        let id = meant.image();
        let contents = store.contents(id)?;
        let missing = || store::Error::NoImage { name: id.to_string() };
        let manifest = contents.manifests.last().ok_or_else(missing)?.digest.clone();
        let json = |bytes: Vec<u8>| serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let mut unpacked = Space::default();
        for key in &contents.layers {
            unpacked = unpacked + store.layer(key)?.unwrap_or_default();
        }
        Ok(Details {
            summary: store.image(id)?.into(),
            manifest: json(store.read_blob(&manifest, MAX_MANIFEST)?),
            manifest_digest: manifest,
            config: json(store.read_blob(id, MAX_CONFIG)?),
            labels: contents.labels,
            layers: contents.layers,
            unpacked,
        })
    }

    /// The configuration of an image, for who makes a container of it.
    ///
    /// # Errors
    /// As [`Catalog::inspect`].
    pub fn config(&self, id: &Digest) -> Result<ImageConfig> {
        Ok(ImageConfig::parse(&self.store.read_blob(id, MAX_CONFIG)?)?)
    }
}
