//! Media types of image documents and layers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a layer's tar stream is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A bare tar stream.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// zstd (RFC 8878).
    Zstd,
}

/// A media type that this runtime knows, or the text of one that it does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub enum MediaType {
    /// OCI image manifest.
    Manifest,
    /// OCI image index.
    Index,
    /// Docker image manifest, version 2 schema 2.
    DockerManifest,
    /// Docker manifest list.
    DockerList,
    /// Docker manifest, version 2 schema 1, signed or not: refused everywhere.
    DockerSchema1,
    /// OCI image configuration.
    Config,
    /// Docker image configuration.
    DockerConfig,
    /// OCI layer.
    Layer(Compression),
    /// Docker layer.
    DockerLayer(Compression),
    /// A layer that must not be distributed, of OCI or Docker: refused everywhere.
    Foreign(String),
    /// Anything else, such as an artifact's own type.
    Other(String),
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
const FOREIGN: [&str; 2] = [
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
];

impl MediaType {
    /// What a request for a manifest accepts, as the value of an `Accept` header.
    pub const ACCEPT: &'static str = concat!(
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, ",
        "application/vnd.docker.distribution.manifest.list.v2+json, ",
        "application/vnd.docker.distribution.manifest.v2+json"
    );

    /// The media type that `text` spells; parameters after `;` are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let bare = text.split(';').next().unwrap_or_default().trim();
        match bare {
            MANIFEST => Self::Manifest,
            INDEX => Self::Index,
            DOCKER_MANIFEST => Self::DockerManifest,
            DOCKER_LIST => Self::DockerList,
            SCHEMA_1 | SCHEMA_1_SIGNED => Self::DockerSchema1,
            CONFIG => Self::Config,
            DOCKER_CONFIG => Self::DockerConfig,
            LAYER => Self::Layer(Compression::None),
            LAYER_GZIP => Self::Layer(Compression::Gzip),
            LAYER_ZSTD => Self::Layer(Compression::Zstd),
            DOCKER_LAYER => Self::DockerLayer(Compression::None),
            DOCKER_LAYER_GZIP => Self::DockerLayer(Compression::Gzip),
            DOCKER_LAYER_ZSTD => Self::DockerLayer(Compression::Zstd),
            other if FOREIGN.iter().any(|prefix| other.starts_with(prefix)) => {
                Self::Foreign(other.to_owned())
            }
            other => Self::Other(other.to_owned()),
        }
    }

    /// The media type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Manifest => MANIFEST,
            Self::Index => INDEX,
            Self::DockerManifest => DOCKER_MANIFEST,
            Self::DockerList => DOCKER_LIST,
            Self::DockerSchema1 => SCHEMA_1_SIGNED,
            Self::Config => CONFIG,
            Self::DockerConfig => DOCKER_CONFIG,
            Self::Layer(Compression::None) => LAYER,
            Self::Layer(Compression::Gzip) => LAYER_GZIP,
            Self::Layer(Compression::Zstd) => LAYER_ZSTD,
            Self::DockerLayer(Compression::None) => DOCKER_LAYER,
            Self::DockerLayer(Compression::Gzip) => DOCKER_LAYER_GZIP,
            Self::DockerLayer(Compression::Zstd) => DOCKER_LAYER_ZSTD,
            Self::Foreign(text) | Self::Other(text) => text,
        }
    }

    /// Whether it is an image manifest, of OCI or Docker.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::Manifest | Self::DockerManifest)
    }

    /// Whether it is an index of manifests, of OCI or Docker.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self, Self::Index | Self::DockerList)
    }

    /// Whether it is an image configuration, of OCI or Docker.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Config | Self::DockerConfig)
    }

    /// How a layer is packed; `None` when it is no layer that this runtime unpacks.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        match self {
            Self::Layer(packed) | Self::DockerLayer(packed) => Some(*packed),
            _ => None,
        }
    }
}

impl From<String> for MediaType {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<MediaType> for String {
    fn from(media: MediaType) -> Self {
        media.as_str().to_owned()
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_types_survive_a_round() {
        let known = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST, CONFIG, DOCKER_CONFIG];
        let layers =
            [LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD];
        for text in known.into_iter().chain(layers) {
            let media = MediaType::parse(text);
            assert!(!matches!(media, MediaType::Other(_)), "{text}");
            assert_eq!(media.as_str(), text);
            assert_eq!(media.compression().is_some(), layers.contains(&text));
        }
        assert_eq!(
            MediaType::parse("application/vnd.oci.image.index.v1+json; charset=utf-8"),
            MediaType::Index
        );
        assert_eq!(MediaType::parse(SCHEMA_1), MediaType::DockerSchema1);
    }

    #[test]
    fn foreign_layers_are_known_as_such() {
        for text in [
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        ] {
            let media = MediaType::parse(text);
            assert!(matches!(media, MediaType::Foreign(_)));
            assert_eq!(media.compression(), None);
        }
    }
}
