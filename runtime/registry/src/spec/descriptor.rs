//! Descriptors: what points at content (image-spec 1.1, "Content Descriptors").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Digest, DigestError, MediaType, Platform};
use crate::error::{Error, Kind, Result, quote};

/// Annotations of a descriptor, manifest or index.
pub type Annotations = BTreeMap<String, String>;

/// Points at content by digest and size. Never one that brings its own addresses, and never a foreign layer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Wire", rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// For an entry of an index: what the image runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free text by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// For an artifact: its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with nothing optional.
    #[must_use]
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            artifact_type: None,
        }
    }
}

/// A descriptor as written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    media_type: String,
    digest: String,
    size: i64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<Annotations>,
    #[serde(default)]
    artifact_type: Option<String>,
}

impl TryFrom<Wire> for Descriptor {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Self> {
        let media_type = MediaType::parse(&wire.media_type);
        if let MediaType::Foreign(text) = &media_type {
            return Err(Error::new(
                Kind::Refused,
                "mediaType",
                format!("{} is a foreign layer", quote(text)),
            )
            .advise("build the image without non-distributable layers"));
        }
        if let Some(url) = wire.urls.iter().flatten().next() {
            return Err(Error::new(
                Kind::Refused,
                "urls",
                format!("content at {} is never fetched", quote(url)),
            )
            .advise("push the image with all of its content"));
        }
        let size = u64::try_from(wire.size).map_err(|_| {
            Error::new(Kind::Invalid, "size", format!("{} is no length in bytes", wire.size))
        })?;
        Ok(Self {
            media_type,
            digest: wire
                .digest
                .parse()
                .map_err(|e: DigestError| Error::from(e).within("digest"))?,
            size,
            platform: wire.platform,
            annotations: wire.annotations.unwrap_or_default(),
            artifact_type: wire.artifact_type,
        })
    }
}
