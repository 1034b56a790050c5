//! What a manifest and its configuration ask for, checked before anything is fetched. Pure.

use crate::{Error, Kind, Result};
use content_digest::Digest;
use registry::spec::{Descriptor, ImageConfig, Manifest, Platform};
use std::collections::{BTreeMap, HashMap};

/// Layers of one image, at most. Overlay mounts take 500; nobody builds that many.
const MAX_LAYERS: usize = 500;
/// Bytes of one layer as it is transferred, at most.
const MAX_LAYER: u64 = 128 << 30;
/// Labels by which runtimes steer themselves: an image must not.
const RESERVED: [&str; 7] = [
    "podloom.",
    "io.podloom.",
    "containerd.io/",
    "io.containerd.",
    "io.cri-containerd",
    "io.cri-o",
    "io.kubernetes.",
];

/// An image that can be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Digest of its configuration.
    pub(crate) id: Digest,
    pub(crate) manifest: Digest,
    pub(crate) media_type: String,
    /// Indexes that led to the manifest, outermost first.
    pub(crate) indexes: Vec<Digest>,
    /// Size of manifest, configuration and layers in bytes.
    pub(crate) size: u64,
    pub(crate) platform: Platform,
    pub(crate) created: Option<String>,
    pub(crate) user: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Lowest first; the same layer may stand there twice.
    pub(crate) layers: Vec<PlannedLayer>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedLayer {
    pub(crate) blob: Descriptor,
    /// The digest in it.
    pub(crate) digest: Digest,
    pub(crate) diff_id: Digest,
    /// The name that it has unpacked, on top of the layers below.
    pub(crate) chain_id: Digest,
    pub(crate) compression: layer::Compression,
}

impl Plan {
    /// Reads configuration against manifest.
    pub(crate) fn new(descriptor: &Descriptor, manifest: &Manifest, config: &[u8]) -> Result<Plan> {
        let parsed = ImageConfig::parse(config)?;
        let digest = descriptor.digest.clone();
        if manifest.layers.len() != parsed.diff_ids.len() {
            let text = format!(
                "has {} layers where the configuration names {}",
                manifest.layers.len(),
                parsed.diff_ids.len()
            );
            return Err(refused(&digest, text));
        }
        let layers = layers(&digest, manifest, &parsed)?;
        let unique: HashMap<_, _> = layers.iter().map(|l| (&l.digest, l.blob.size)).collect();
        let parts = unique.values().chain([&descriptor.size, &manifest.config.size]);
        let size = parts.copied().try_fold(0_u64, u64::checked_add);
        Ok(Plan {
            id: manifest.config.digest.clone(),
            size: size.ok_or_else(|| refused(&digest, "its sizes overflow"))?,
            manifest: digest,
            media_type: manifest.media_type.as_str().to_owned(),
            indexes: Vec::new(),
            platform: parsed.platform,
            created: parsed.created,
            user: parsed.container.user.to_string(),
            labels: allowed(parsed.container.labels),
            layers,
        })
    }

    /// Blobs that the image consists of; without its layers' ones if they are not kept.
    pub(crate) fn blobs(&self, with_layers: bool) -> Vec<Digest> {
        let mut blobs = self.indexes.clone();
        blobs.extend([self.manifest.clone(), self.id.clone()]);
        if with_layers {
            blobs.extend(self.layers.iter().map(|layer| layer.digest.clone()));
        }
        let mut seen = std::collections::HashSet::new();
        blobs.retain(|digest| seen.insert(digest.clone()));
        blobs
    }
}

/// Checked before the configuration is fetched: counts and media types.
pub(crate) fn check_manifest(digest: &Digest, manifest: &Manifest) -> Result<()> {
    manifest.require_image()?;
    if manifest.layers.len() > MAX_LAYERS {
        let count = manifest.layers.len();
        return Err(refused(digest, format!("has {count} layers, at most {MAX_LAYERS} are taken")));
    }
    if manifest.config.size > registry::spec::MAX_CONFIG {
        let (size, most) = (manifest.config.size, registry::spec::MAX_CONFIG);
        return Err(refused(
            digest,
            format!("has a configuration of {size} bytes, at most {most}"),
        ));
    }
    Ok(())
}

fn layers(digest: &Digest, manifest: &Manifest, config: &ImageConfig) -> Result<Vec<PlannedLayer>> {
    let mut planned: Vec<PlannedLayer> = Vec::new();
    let mut known: HashMap<Digest, (Digest, u64)> = HashMap::new();
    for (blob, diff_id) in manifest.layers.iter().zip(&config.diff_ids) {
        if blob.size > MAX_LAYER {
            return Err(refused(
                digest,
                format!("layer of {} bytes, at most {MAX_LAYER}", blob.size),
            ));
        }
        let (name, diff_id): (Digest, Digest) = (blob.digest.clone(), diff_id.clone());
        // One blob cannot unpack to two things, nor have two sizes.
        let first = known.entry(name.clone()).or_insert_with(|| (diff_id.clone(), blob.size));
        if *first != (diff_id.clone(), blob.size) {
            return Err(refused(digest, format!("describes the layer {name} in two ways")));
        }
        let compression = blob.media_type.compression();
        let compression = compression
            .ok_or_else(|| refused(digest, format!("{} is no layer", blob.media_type.as_str())))?;
        let chain_id = match planned.last() {
            None => diff_id.clone(),
            Some(below) => Digest::sha256(format!("{} {diff_id}", below.chain_id).as_bytes()),
        };
        planned.push(PlannedLayer {
            blob: blob.clone(),
            digest: name,
            diff_id,
            chain_id,
            compression: match compression {
                registry::spec::Compression::None => layer::Compression::None,
                registry::spec::Compression::Gzip => layer::Compression::Gzip,
                registry::spec::Compression::Zstd => layer::Compression::Zstd,
            },
        });
    }
    Ok(planned)
}

fn refused(digest: &Digest, text: impl std::fmt::Display) -> Error {
    Error::new(Kind::Refused, format!("manifest {digest}"), text)
}

fn allowed(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.retain(|key, _| !RESERVED.iter().any(|reserved| key.starts_with(reserved)));
    labels
}
