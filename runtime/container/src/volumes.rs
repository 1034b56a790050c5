//! Directories that an image declares as volumes: each is one of the container's own on the disk, not
//! in its layers. Programs keep what they write most there, and some cannot have it in an overlay.

use crate::rootfs::{Tree, of_snapshot};
use crate::spec::{self, Access, Bind};
use crate::{Error, Result};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Directory of the volumes, in that of the container's records: it goes with them.
const VOLUMES: &str = "volumes";

/// What an image declares, and where it is in the container.
#[derive(Debug)]
pub(crate) struct Volumes<'a> {
    /// Paths in the container, as the image has them.
    pub(crate) of_image: &'a [String],
    /// The container's file system.
    pub(crate) tree: &'a Tree,
    /// The user namespace whose root owns what is made.
    pub(crate) user: Option<&'a sandbox::User>,
}

impl Volumes<'_> {
    /// Makes the volumes below `dir`, with what the image has at their paths. What is mounted by the
    /// container's configuration, at such a path or above it, is where its data belong instead.
    ///
    /// # Errors
    /// Something else than a directory is there in the image, or there is no room.
    pub(crate) fn fill(&self, dir: &Path, taken: &[Bind]) -> Result<Vec<Bind>> {
        let mut binds: Vec<Bind> = Vec::new();
        for declared in self.of_image {
            let Some(path) = spec::inside(declared) else { continue };
            let is_root = path == Path::new("/");
            let of_another = |bind: &Bind| path.starts_with(&bind.destination);
            if is_root || taken.iter().chain(&binds).any(of_another) {
                continue;
            }
            let source = self.tree.make_dir(&path, self.owner())?;
            let own = dir.join(VOLUMES).join(binds.len().to_string());
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&own);
            made.map_err(|e| Error::io(own.display(), &e))?;
            let copied = snapshot::copy_directory(&source, &own);
            copied.map_err(|e| {
                let subject = format!("volume {} of the image", path.display());
                Error::new(of_snapshot(&e).kind(), subject, e)
            })?;
            binds.push(Bind::new(&own, path, Access::Write));
        }
        Ok(binds)
    }

    /// What the container's root is on the node.
    fn owner(&self) -> (u32, u32) {
        let root = |ranges: &[sandbox::IdRange]| {
            ranges.iter().find(|range| range.container == 0).map_or(0, |range| range.host)
        };
        self.user.map_or((0, 0), |user| (root(&user.uids), root(&user.gids)))
    }
}
