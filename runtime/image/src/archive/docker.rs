//! What `docker save` writes: `manifest.json`, configurations, layers as plain tar files.
//!
//! Such an archive has no manifest in the sense of the image specification; one is made for it,
//! the same from the same archive.

use super::place::{Place, Section};
use super::{Found, MAX_IMAGES, read};
use crate::plan::{Plan, check_manifest};
use crate::{Error, Kind, Result};
use content_digest::{Algorithm, Digest};
use layer::Compression;
use registry::spec::{Descriptor, Document, ImageConfig, MAX_CONFIG, MAX_MANIFEST, MediaType};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

type Blobs = HashMap<Digest, String>;

/// The images, and where their content is.
pub(super) fn images(place: &Place) -> Result<(Vec<Found>, Blobs)> {
    let text = read(place.section("manifest.json")?, MAX_MANIFEST, "manifest.json")?;
    let wrong = |cause: &dyn std::fmt::Display| {
        Error::new(Kind::Invalid, "manifest.json", format!("is not what docker writes: {cause}"))
    };
    let list: Vec<Wire> = serde_json::from_slice(&text).map_err(|e| wrong(&e))?;
    if list.is_empty() || list.len() > MAX_IMAGES {
        return Err(wrong(&format!("{} images", list.len())));
    }
    let mut blobs = HashMap::new();
    let images = list.into_iter().map(|wire| image(place, wire, &mut blobs)).collect::<Result<_>>();
    Ok((images?, blobs))
}

fn image(place: &Place, wire: Wire, blobs: &mut Blobs) -> Result<Found> {
    let config = read(place.section(&wire.config)?, MAX_CONFIG, &wire.config)?;
    let diff_ids = ImageConfig::parse(&config)?.diff_ids;
    let layers = wire.layers.unwrap_or_default();
    if layers.len() != diff_ids.len() {
        let text = format!("lists {} layers, the configuration {}", layers.len(), diff_ids.len());
        return Err(Error::new(Kind::Refused, "manifest.json", text));
    }
    let mut descriptors = Vec::new();
    for (path, diff_id) in layers.iter().zip(&diff_ids) {
        let descriptor = layer(place, path, diff_id)?;
        blobs.insert(descriptor.digest.clone(), path.clone());
        descriptors.push(descriptor);
    }
    let id = Digest::sha256(&config);
    let config_at = Descriptor::new(MediaType::DockerConfig, id.clone(), config.len() as u64);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::DockerManifest,
        "config": config_at,
        "layers": descriptors,
    });
    let text = manifest.to_string().into_bytes();
    let Document::Manifest(manifest) = Document::parse(&text, None)? else {
        return Err(Error::new(Kind::Invalid, "manifest.json", "makes no manifest"));
    };
    let target = Digest::sha256(&text);
    check_manifest(&target, &manifest)?;
    let size = text.len() as u64;
    let descriptor = Descriptor::new(MediaType::DockerManifest, target.clone(), size);
    let plan = Plan::new(&descriptor, &manifest, &config)?;
    let documents = vec![(target.clone(), text), (id, config)];
    Ok(Found { names: wire.repo_tags.unwrap_or_default(), target, plan, documents })
}

/// A plain layer's digest is its diff ID; a compressed one must be hashed.
fn layer(place: &Place, path: &str, diff_id: &Digest) -> Result<Descriptor> {
    let fault = |e: std::io::Error| Error::io("read", Path::new(path), &e);
    let mut section = place.section(path)?;
    let mut head = [0; 6];
    let mut count = 0;
    while count < head.len() {
        match section.read(&mut head[count..]).map_err(fault)? {
            0 => break,
            more => count += more,
        }
    }
    let size = section.size;
    let packing = match Compression::of_magic(&head[..count]) {
        Compression::None => registry::spec::Compression::None,
        Compression::Gzip => registry::spec::Compression::Gzip,
        Compression::Zstd => registry::spec::Compression::Zstd,
    };
    let digest = match packing {
        registry::spec::Compression::None => diff_id.clone(),
        _ => hash(place.section(path)?).map_err(fault)?,
    };
    Ok(Descriptor::new(MediaType::DockerLayer(packing), digest.clone(), size))
}

fn hash(mut section: Section) -> std::io::Result<Digest> {
    let mut hasher = Algorithm::Sha256.hasher();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match section.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
