//! What the store knows of images.

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of its configuration.
    pub id: Digest,
    /// Its names, sorted. Part of what is read, not of what is stored with the image.
    #[serde(skip)]
    pub names: Vec<Name>,
    /// Size in bytes of its manifest, configuration and compressed layers.
    pub size: u64,
    /// When the image was built, as its configuration says it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it came here, in nanoseconds since 1970.
    pub added: u64,
    /// Operating system and architecture, like `linux/amd64`.
    pub platform: String,
    /// The user that its configuration names, USER or USER:GROUP.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Never removed by a collection of unused images.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
}

/// A name of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The full reference, `host/path:tag` or `host/path@digest`.
    #[serde(default)]
    pub name: String,
    /// The image it means: digest of the configuration.
    pub image: Digest,
    /// What the registry has under the name: an index or a manifest.
    pub target: Digest,
    /// The manifest, of the platform that was chosen.
    pub manifest: Digest,
    /// Since when it means that image, in nanoseconds since 1970.
    pub since: u64,
    /// Not asked for by anybody, but follows from a tag: the digest that a tag had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implied: bool,
}

/// One manifest that describes an image; the same image may have several, compressed differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Indexes that led to it, itself, the configuration, the layers' blobs that are kept.
    pub blobs: Vec<Digest>,
}

/// What an image consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Its manifests, the latest last.
    pub manifests: Vec<Manifest>,
    /// Keys of its unpacked layers, lowest first.
    pub layers: Vec<String>,
    /// Labels of its configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Disk space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Bytes allocated on disk.
    pub bytes: u64,
    /// Files, directories and other inodes.
    pub inodes: u64,
}

impl std::ops::Add for Space {
    type Output = Space;
    fn add(self, other: Space) -> Space {
        Space { bytes: self.bytes + other.bytes, inodes: self.inodes + other.inodes }
    }
}

impl std::iter::Sum for Space {
    fn sum<I: Iterator<Item = Space>>(parts: I) -> Space {
        parts.fold(Space::default(), std::ops::Add::add)
    }
}
