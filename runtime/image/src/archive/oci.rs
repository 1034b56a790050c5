//! OCI image layouts (image specification 1.1, "Image Layout"), as a directory or a tar file.

use super::{Archive, Found, MAX_IMAGES, read};
use crate::plan::{Plan, check_manifest};
use crate::{Error, Kind, Result};
use content_digest::Digest;
use registry::spec::{
    Descriptor, Document, MAX_CONFIG, MAX_INDEX_DEPTH, MAX_MANIFEST, Manifest, MediaType, Platform,
};

/// Where tools write names: containerd and docker the full one, others a tag or any text.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// The images that `index.json` lists, of the platform where there is a choice.
pub(super) fn images(archive: &Archive, platform: &Platform) -> Result<Vec<Found>> {
    let text = read(archive.place.section("index.json")?, MAX_MANIFEST, "index.json")?;
    let Document::Index(index) = Document::parse(&text, Some(&MediaType::Index))? else {
        return Err(Error::new(Kind::Invalid, "index.json", "is no index"));
    };
    if index.manifests.len() > MAX_IMAGES {
        let text = format!("lists {} images, at most {MAX_IMAGES}", index.manifests.len());
        return Err(Error::new(Kind::Refused, "index.json", text));
    }
    let mut found: Vec<Found> = Vec::new();
    for descriptor in &index.manifests {
        let name = NAMES.iter().find_map(|key| descriptor.annotations.get(*key));
        let names: Vec<_> = name.filter(|name| !name.is_empty()).cloned().into_iter().collect();
        let target = descriptor.digest.clone();
        if let Some(known) = found.iter_mut().find(|known| known.target == target) {
            known.names.extend(names);
            continue;
        }
        match image(archive, descriptor, platform) {
            Ok((plan, documents)) => found.push(Found { names, target, plan, documents }),
            // Several nameless entries are one image for several platforms.
            Err(e) if e.kind() == Kind::NotFound && index.manifests.len() > 1 => {}
            Err(e) => return Err(e),
        }
    }
    if found.is_empty() {
        let text = format!("has no image for {platform}");
        return Err(Error::new(Kind::NotFound, "index.json", text));
    }
    Ok(found)
}

type Documents = Vec<(Digest, Vec<u8>)>;

fn image(
    archive: &Archive,
    descriptor: &Descriptor,
    platform: &Platform,
) -> Result<(Plan, Documents)> {
    let mut documents = Vec::new();
    let mut next = descriptor.clone();
    for _ in 0..MAX_INDEX_DEPTH {
        let digest = next.digest.clone();
        let bytes = archive.document(&digest, MAX_MANIFEST)?;
        let document = Document::parse(&bytes, Some(&next.media_type))?;
        documents.push((digest, bytes));
        match document {
            Document::Index(index) => next = index.choose(platform)?.clone(),
            Document::Manifest(manifest) => {
                let plan = planned(archive, &next, &manifest, &mut documents)?;
                return Ok((plan, documents));
            }
        }
    }
    let text = format!("indexes within indexes, more than {MAX_INDEX_DEPTH} deep");
    Err(Error::new(Kind::Refused, descriptor.digest.to_string(), text))
}

fn planned(
    archive: &Archive,
    descriptor: &Descriptor,
    manifest: &Manifest,
    documents: &mut Documents,
) -> Result<Plan> {
    check_manifest(&descriptor.digest, manifest)?;
    let config = archive.document(&manifest.config.digest, MAX_CONFIG)?;
    let mut plan = Plan::new(descriptor, manifest, &config)?;
    plan.indexes = documents.iter().map(|(digest, _)| digest.clone()).collect();
    plan.indexes.retain(|digest| *digest != plan.manifest);
    documents.push((plan.id.clone(), config));
    Ok(plan)
}
