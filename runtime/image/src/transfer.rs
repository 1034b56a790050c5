//! What pulls and imports end with; imports and exports.

use crate::archive::{self, Archive, Form, Found};
use crate::fetch::{Fetch, Source};
use crate::plan::Plan;
use crate::progress::{Progress, Stage};
use crate::pull::now;
use crate::{Error, ImageService, Kind, Result, Summary, blocking, names};
use registry::Reference;
use registry::spec::Platform;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Contents, Image, Manifest, Name, Space};

/// An image whose parts are here, but neither durable nor known.
pub(crate) struct Arrival {
    pub(crate) fetch: Arc<Fetch>,
    pub(crate) names: Vec<Name>,
}

/// What to import.
#[derive(Clone, Debug)]
pub struct Import {
    /// An OCI layout directory, an OCI or docker archive (also compressed), or `-` for an archive
    /// on standard input.
    pub path: PathBuf,
    /// Which image of several platforms.
    pub platform: Platform,
    /// The name for an archive of one image, instead of those that it has.
    pub name: Option<Reference>,
}

/// What to export.
#[derive(Clone, Debug)]
pub struct Export {
    /// Images by tag, digest or ID; an archive holds the names by which they are asked for.
    pub images: Vec<String>,
    /// Where to; `-` for an archive to standard output.
    pub path: PathBuf,
    /// In which form.
    pub form: Form,
    /// An archive is compressed with gzip.
    pub gzip: bool,
}

impl ImageService {
    /// Imports all images of an archive. Told for each is what it is now.
    ///
    /// # Errors
    /// What is refused in a pull is refused here; images before it in the archive are imported.
    pub async fn import(&self, import: Import) -> Result<Vec<Summary>> {
        let progress = self.progress(&import.path.display().to_string());
        self.import_with(import, &progress).await
    }

    /// As [`ImageService::import`], with its progress shown in `progress`, that
    /// [`ImageService::begin_import`] gave.
    ///
    /// # Errors
    /// As [`ImageService::import`].
    pub async fn import_with(
        &self,
        import: Import,
        progress: &Arc<Progress>,
    ) -> Result<Vec<Summary>> {
        let scratch = self.inner.store.root().join("ingest");
        let (path, platform) = (import.path.clone(), import.platform.clone());
        let archive = blocking(move || Archive::open(&path, &platform, &scratch)).await?;
        let mut archive = archive;
        let images = std::mem::take(&mut archive.images);
        if import.name.is_some() && images.len() > 1 {
            let text = format!("holds {} images: one name is not enough", images.len());
            return Err(Error::new(Kind::Invalid, import.path.display().to_string(), text));
        }
        let archive = Arc::new(archive);
        let mut imported = Vec::new();
        for found in images {
            progress.restart();
            imported.push(self.import_one(&archive, found, import.name.as_ref(), progress).await?);
        }
        progress.enter(Stage::Ended);
        Ok(imported)
    }

    /// The progress for an import that is about to begin.
    #[must_use]
    pub fn begin_import(&self, path: &Path) -> Arc<Progress> {
        self.progress(&path.display().to_string())
    }

    async fn import_one(
        &self,
        archive: &Arc<Archive>,
        found: Found,
        name: Option<&Reference>,
        progress: &Progress,
    ) -> Result<Summary> {
        let Found { names: given, target, plan, documents } = found;
        let references = match name {
            Some(name) => vec![name.clone()],
            None => given.iter().map(|text| named(text)).collect::<Result<_>>()?,
        };
        let mut names = Vec::new();
        for reference in references {
            let ids = (&plan.id, &target, &plan.manifest);
            names.extend(names::names_for(&reference, ids, now())?);
        }
        let fetch = self.fetch(Source::Archive(Arc::clone(archive)), plan);
        self.arrive(fetch, documents, names, progress).await
    }

    /// Makes an image durable and known.
    pub(crate) fn commit(
        &self,
        arrival: &Arrival,
        commits: Vec<snapshot::Commit>,
    ) -> Result<Summary> {
        let plan = &arrival.fetch.plan;
        let (store, settings) = (&self.inner.store, &self.inner.settings);
        let are_new = !commits.is_empty();
        let added = self.inner.layers.commit(commits).map_err(Error::snapshot)?;
        for info in added {
            let space = Space { bytes: info.usage.bytes, inodes: info.usage.inodes };
            store.add_layer(info.name.as_str(), space);
        }
        let commit = store::Commit {
            image: image_of(plan),
            contents: contents_of(plan, settings.keep_blobs),
            names: arrival.names.clone(),
            also_sync: Vec::new(),
            // The snapshots' sync covered the blobs: they were written before it.
            synced: are_new && is_same_disk(&settings.store, &settings.snapshots),
        };
        if are_new || !self.is_known(&commit)? {
            store.commit(&commit)?;
        }
        if !settings.keep_blobs {
            for layer in &plan.layers {
                store.discard_blob(&layer.digest)?;
            }
        }
        Ok(store.image(&plan.id)?.into())
    }

    /// Whether nothing would change.
    fn is_known(&self, commit: &store::Commit) -> Result<bool> {
        let store = &self.inner.store;
        let contents = match store.contents(&commit.image.id) {
            Ok(contents) => contents,
            Err(store::Error::NoImage { .. }) => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        let is_there = |manifest: &Manifest| contents.manifests.contains(manifest);
        if contents.layers != commit.contents.layers
            || !commit.contents.manifests.iter().all(is_there)
        {
            return Ok(false);
        }
        for name in &commit.names {
            let known = store.name(&name.name)?;
            let same = |known: &Name| {
                (&known.image, &known.target, known.implied)
                    == (&name.image, &name.target, name.implied)
            };
            // A digest that was asked for stays asked for when a tag implies it too.
            let asked = |known: &Name| name.implied && !known.implied && known.image == name.image;
            if !known.is_some_and(|known| same(&known) || asked(&known)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes images to an archive or a layout. The file is complete or not there.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is no such image, or its layers were not kept; the disk fails.
    pub async fn export(&self, export: Export) -> Result<()> {
        let service = self.clone();
        blocking(move || archive::export(&service, &export)).await
    }
}

fn is_same_disk(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    device(one).is_some() && device(one) == device(other)
}

fn image_of(plan: &Plan) -> Image {
    Image {
        id: plan.id.clone(),
        names: Vec::new(),
        size: plan.size,
        created: plan.created.clone(),
        added: now(),
        platform: plan.platform.to_string(),
        user: plan.user.clone(),
        pinned: false,
    }
}

fn contents_of(plan: &Plan, with_layers: bool) -> Contents {
    let manifest = Manifest {
        digest: plan.manifest.clone(),
        media_type: plan.media_type.clone(),
        blobs: plan.blobs(with_layers),
    };
    Contents {
        manifests: vec![manifest],
        layers: plan.layers.iter().map(|layer| layer.chain_id.to_string()).collect(),
        labels: plan.labels.clone(),
    }
}

/// The reference that an archive's name means. A single word without a tag, as some tools write,
/// is no repository of a registry: it becomes one of `localhost`, as podman does.
fn named(text: &str) -> Result<Reference> {
    let is_word = !text.contains(['/', ':', '@']);
    Ok(if is_word { format!("localhost/{text}").parse()? } else { text.parse()? })
}
