//! Images on disk: OCI layout directories, OCI archives, docker archives, also compressed.

mod docker;
mod oci;
mod place;
mod write;

use crate::plan::Plan;
use crate::{Error, Kind, Result};
use content_digest::Digest;
use place::Place;
use registry::spec::Platform;
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

pub(crate) use place::Section;
pub(crate) use write::export;

/// Images of one archive, at most.
const MAX_IMAGES: usize = 10_000;

/// The form of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A directory with an OCI layout.
    OciLayout,
    /// An OCI layout as a tar file.
    #[default]
    OciArchive,
    /// What `docker load` reads, as a tar file.
    DockerArchive,
}

/// An archive that was looked through.
#[derive(Debug)]
pub(crate) struct Archive {
    place: Place,
    /// Where content is whose place does not follow from its digest.
    blobs: HashMap<Digest, String>,
    /// What is in it.
    pub(crate) images: Vec<Found>,
}

/// One image of an archive.
#[derive(Debug)]
pub(crate) struct Found {
    /// Names as the archive writes them.
    pub(crate) names: Vec<String>,
    /// What the name means: an index or the manifest.
    pub(crate) target: Digest,
    pub(crate) plan: Plan,
    /// Documents that must be kept with the image: indexes, manifest, configuration.
    pub(crate) documents: Vec<(Digest, Vec<u8>)>,
}

impl Archive {
    /// Looks through an archive: a directory, a file, or standard input for `-`. What is
    /// compressed is unpacked to a nameless file in `scratch` first.
    pub(crate) fn open(path: &Path, platform: &Platform, scratch: &Path) -> Result<Archive> {
        let place = Place::open(path, scratch)?;
        let mut archive = Archive { place, blobs: HashMap::new(), images: Vec::new() };
        // Newer `docker save` writes both forms; the layout says more.
        if archive.place.has("index.json") {
            archive.images = oci::images(&archive, platform)?;
        } else if archive.place.has("manifest.json") {
            let (images, blobs) = docker::images(&archive.place)?;
            (archive.images, archive.blobs) = (images, blobs);
        } else {
            let text = "has neither index.json (OCI) nor manifest.json (docker)";
            return Err(Error::new(Kind::Invalid, path.display().to_string(), text));
        }
        Ok(archive)
    }

    /// The content of a digest, not verified.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Section> {
        let usual = || format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        let path = self.blobs.get(digest).cloned().unwrap_or_else(usual);
        self.place.section(&path)
    }

    /// A document of at most `limit` bytes, verified.
    fn document(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let section = self.blob(digest)?;
        let bytes = read(section, limit, digest.as_str())?;
        let mut hasher = digest.hasher();
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != *digest {
            let text = format!("the archive has something of digest {found} in its place");
            return Err(Error::new(Kind::Mismatch, digest.to_string(), text));
        }
        Ok(bytes)
    }
}

/// All of a section that is not larger than `limit`.
fn read(section: Section, limit: u64, subject: &str) -> Result<Vec<u8>> {
    if section.size > limit {
        let text = format!("{} bytes, at most {limit} are read", section.size);
        return Err(Error::new(Kind::Refused, subject, text));
    }
    let mut bytes = Vec::new();
    let read = section.take(limit).read_to_end(&mut bytes);
    read.map_err(|e| Error::io("read", Path::new(subject), &e))?;
    Ok(bytes)
}

/// Digest and text of all images in an archive, for the fuzzer: no file of the machine is touched
/// but `file`.
#[doc(hidden)]
pub fn fuzz_archive(path: &Path, scratch: &Path) -> Result<usize> {
    Archive::open(path, &Platform::host(), scratch).map(|archive| archive.images.len())
}
