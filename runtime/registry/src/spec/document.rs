//! Manifests and indexes (image-spec 1.1 "Image Manifest" and "Image Index"; Docker schema 2 alike).
//!
//! A document is exactly one of the two. One that could be read as either is refused, because two readers of
//! the same digest would run different images (GHSA-5j5w-g665-5m35).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::descriptor::Wire as WireDescriptor;
use super::{Annotations, Descriptor, MediaType, Platform};
use crate::error::{Error, Kind, Result, quote};

/// Largest manifest or index that is read by default, in bytes.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Largest image configuration that is read by default, in bytes.
pub const MAX_CONFIG: u64 = 8 << 20;
/// How many indexes may be nested in each other before an image.
pub const MAX_INDEX_DEPTH: usize = 4;

/// What a tag or digest names: an image, or a choice of images.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a pull holds one of them at a time")]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images to choose from by platform.
    Index(Index),
}

/// One image: its configuration and its layers, bottom first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// OCI or Docker.
    pub media_type: MediaType,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// Free text by key.
    pub annotations: Annotations,
    /// For an artifact: its type.
    pub artifact_type: Option<String>,
}

/// A choice of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// OCI or Docker.
    pub media_type: MediaType,
    /// The images or further indexes, in order of preference.
    pub manifests: Vec<Descriptor>,
    /// Free text by key.
    pub annotations: Annotations,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<WireDescriptor>,
    #[serde(default)]
    layers: Option<Vec<WireDescriptor>>,
    #[serde(default)]
    manifests: Option<Vec<WireDescriptor>>,
    #[serde(default)]
    annotations: Option<Annotations>,
    #[serde(default)]
    artifact_type: Option<String>,
}

const KEYS: [&str; 12] = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "annotations",
    "artifactType",
    "subject",
    "fsLayers",
    "history",
    "signatures",
    "blobs",
];

impl Document {
    /// Parses a document; `declared` is the media type that the registry or the descriptor gave, if any.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a malformed document; [`Kind::Refused`] for schema 1, for one that is manifest and
    /// index at once or not what was declared, for foreign layers and for descriptors with addresses;
    /// [`Kind::TooLarge`] above [`MAX_MANIFEST`].
    pub fn parse(bytes: &[u8], declared: Option<&MediaType>) -> Result<Self> {
        const SUBJECT: &str = "manifest";
        if bytes.len() as u64 > MAX_MANIFEST {
            let message = format!("{} bytes, at most {MAX_MANIFEST} are read", bytes.len());
            return Err(Error::new(Kind::TooLarge, SUBJECT, message));
        }
        check_keys(bytes, declared).map_err(|e| e.within(SUBJECT))?;
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let wire: Wire = serde_path_to_error::deserialize(&mut json)
            .map_err(|e| invalid(format!("{}: {}", e.path(), e.inner())).within(SUBJECT))?;
        build(wire, declared).map_err(|e| e.within(SUBJECT))
    }

    /// Its own media type.
    #[must_use]
    pub fn media_type(&self) -> &MediaType {
        match self {
            Self::Manifest(manifest) => &manifest.media_type,
            Self::Index(index) => &index.media_type,
        }
    }
}

impl Index {
    /// The entry for `platform`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] with the platforms that there are.
    pub fn choose(&self, platform: &Platform) -> Result<&Descriptor> {
        platform.choose(&self.manifests).ok_or_else(|| {
            let offers: Vec<String> =
                self.manifests.iter().flat_map(|m| &m.platform).map(ToString::to_string).collect();
            let message = format!("no image for {platform}; there are: {}", offers.join(", "));
            Error::new(Kind::NotFound, "index", message)
        })
    }
}

impl Manifest {
    /// Checks that this is an image with layers that this runtime unpacks, not some other artifact.
    ///
    /// # Errors
    /// [`Kind::Refused`], naming the part and its type.
    pub fn require_image(&self) -> Result<()> {
        if !self.config.media_type.is_config() {
            let message =
                format!("{} is no image configuration", quote(self.config.media_type.as_str()));
            return Err(Error::new(Kind::Refused, "manifest: config", message)
                .advise("this is an artifact, not a container image"));
        }
        let odd = self.layers.iter().position(|layer| layer.media_type.compression().is_none());
        odd.map_or(Ok(()), |at| {
            let message = format!("{} is no layer", quote(self.layers[at].media_type.as_str()));
            Err(Error::new(Kind::Refused, format!("manifest: layers[{at}]"), message))
        })
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, "", message)
}

fn schema_1() -> Error {
    Error::new(Kind::Refused, "", "a Docker schema 1 manifest, which cannot be verified safely")
        .advise("push the image again with a current tool")
}

/// Refuses what decoders read differently: schema 1, and keys that differ from known ones in case only, which
/// some decoders take for the known ones.
fn check_keys(bytes: &[u8], declared: Option<&MediaType>) -> Result<()> {
    let keys: BTreeMap<String, IgnoredAny> =
        serde_json::from_slice(bytes).map_err(|e| invalid(format!("not a JSON object: {e}")))?;
    if declared == Some(&MediaType::DockerSchema1) || keys.contains_key("fsLayers") {
        return Err(schema_1());
    }
    for key in keys.keys() {
        if let Some(known) =
            KEYS.iter().find(|known| known.eq_ignore_ascii_case(key) && *known != key)
        {
            let message = format!("key {} can be taken for {known}", quote(key));
            return Err(Error::new(Kind::Refused, "", message));
        }
    }
    Ok(())
}

fn build(wire: Wire, declared: Option<&MediaType>) -> Result<Document> {
    match wire.schema_version {
        2 => {}
        1 => return Err(schema_1()),
        other => return Err(invalid(format!("schemaVersion {other}: want 2"))),
    }
    let own = wire.media_type.as_deref().map(MediaType::parse);
    if own == Some(MediaType::DockerSchema1) {
        return Err(schema_1());
    }
    let is_index = wire.manifests.is_some();
    let is_manifest = wire.config.is_some() || wire.layers.is_some();
    if is_index && is_manifest {
        let message =
            "has manifests and also config or layers: two readers would run different images";
        return Err(Error::new(Kind::Refused, "", message));
    }
    let media_type = agreed(own, declared, is_index)?;
    let annotations = wire.annotations.unwrap_or_default();
    if let Some(entries) = wire.manifests {
        let manifests = descriptors(entries, "manifests")?;
        return Ok(Document::Index(Index { media_type, manifests, annotations }));
    }
    let config =
        wire.config.ok_or_else(|| invalid("no config: neither an image manifest nor an index"))?;
    Ok(Document::Manifest(Manifest {
        media_type,
        config: Descriptor::try_from(config).map_err(|e| e.within("config"))?,
        layers: descriptors(wire.layers.unwrap_or_default(), "layers")?,
        annotations,
        artifact_type: wire.artifact_type,
    }))
}

/// The media type that the document, its source and its shape agree on.
fn agreed(
    own: Option<MediaType>,
    declared: Option<&MediaType>,
    is_index: bool,
) -> Result<MediaType> {
    let known = |media: &MediaType| media.is_index() || media.is_manifest();
    // Some registries answer with application/json: no declaration then.
    let declared = declared.filter(|media| known(media)).cloned();
    let refused = |message: String| Err(Error::new(Kind::Refused, "mediaType", message));
    if let (Some(own), Some(declared)) = (&own, &declared)
        && own != declared
    {
        return refused(format!("{} in the document, declared as {declared}", quote(own.as_str())));
    }
    let media =
        own.or(declared).unwrap_or(if is_index { MediaType::Index } else { MediaType::Manifest });
    let fits = if is_index { media.is_index() } else { media.is_manifest() };
    if !fits {
        let shape = if is_index { "an index" } else { "a manifest" };
        return refused(format!("{} on a document that is {shape}", quote(media.as_str())));
    }
    Ok(media)
}

fn descriptors(wires: Vec<WireDescriptor>, key: &str) -> Result<Vec<Descriptor>> {
    let with_place = |(at, wire)| {
        Descriptor::try_from(wire).map_err(|e: Error| e.within(&format!("{key}[{at}]")))
    };
    wires.into_iter().enumerate().map(with_place).collect()
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
