//! Layers with whiteouts as files, copied over each other into one directory.

use crate::copy::{copy, describe, make_open};
use crate::error::Error;
use crate::implied::copy_attributes;
use crate::record::Ids;
use layer::{Found, OPAQUE_MARKER, WHITEOUT_PREFIX, Walk, entries, remove_tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, linkat, mkdirat, open, openat2};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A copy being made.
pub(crate) struct Merge<'a> {
    to: BorrowedFd<'a>,
    own: &'a Path,
    ids: Option<&'a Ids>,
}

/// Copies all that is in the directory `from` into the empty directory `to`, with owners, modes,
/// attributes, times and hard links; `to` gets those of `from`. Neither path may end in a link.
///
/// # Errors
/// What the kernel says.
pub fn copy_directory(from: &Path, to: &Path) -> Result<(), Error> {
    let into = open(to, DIRECTORY, Mode::empty()).map_err(|e| Error::io(to, "open", e))?;
    Merge::new(into.as_fd(), to, None).all([from].into_iter())
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl<'a> Merge<'a> {
    /// A copy into the empty directory `to`, whose path is `own`.
    pub(crate) fn new(to: BorrowedFd<'a>, own: &'a Path, ids: Option<&'a Ids>) -> Merge<'a> {
        Merge { to, own, ids }
    }

    /// Copies all `layers`, the lowest first.
    pub(crate) fn all<'l>(
        &self,
        layers: impl Iterator<Item = &'l Path> + Clone,
    ) -> Result<(), Error> {
        for layer in layers.clone() {
            self.files(&self.open_layer(layer)?)?;
        }
        // Times of directories change while they are filled, so they come last.
        for layer in layers {
            self.directories(&self.open_layer(layer)?)?;
        }
        Ok(())
    }

    fn open_layer(&self, path: &Path) -> Result<OwnedFd, Error> {
        open(path, DIRECTORY, Mode::empty()).map_err(|e| Error::io(path, "open the layer", e))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(Errno) -> Error + use<'a> {
        let own = self.own;
        move |e| Error::io(own, doing, e)
    }

    fn tree_failed(&self, e: layer::Error) -> Error {
        Error::tree(self.own, "copy the layer", e)
    }

    /// The directory at `path` of the copy.
    fn at(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(self.to, path, DIRECTORY, Mode::empty(), resolve)
    }

    fn files(&self, layer: &OwnedFd) -> Result<(), Error> {
        self.apply_whiteouts(layer.as_fd(), b"")?;
        let mut links: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut kept: (Vec<u8>, OwnedFd) = (Vec::new(), self.at(b"").map_err(self.failed("open"))?);
        let mut walk = Walk::new(layer.as_fd()).map_err(|e| self.tree_failed(e))?;
        while let Some(found) = walk.advance().map_err(|e| self.tree_failed(e))? {
            if found.name.starts_with(WHITEOUT_PREFIX.as_bytes()) {
                continue;
            }
            let parent = parent(&found);
            if kept.0 != parent {
                kept = (parent.to_vec(), self.at(parent).map_err(self.failed("open"))?);
            }
            match found.file_type {
                FileType::Directory => self.directory(&found, &kept.1)?,
                _ => self.file(&found, &kept.1, &mut links)?,
            }
        }
        Ok(())
    }

    fn directory(&self, found: &Found<'_>, to: &OwnedFd) -> Result<(), Error> {
        match self.at(found.path) {
            Ok(_) => {}
            Err(_) => {
                self.clear(to, found.name)?;
                mkdirat(to, found.name, Mode::RWXU).map_err(self.failed("make a directory"))?;
            }
        }
        let own = self.at(found.path).map_err(self.failed("open"))?;
        make_open(&own).map_err(self.failed("open a directory"))?;
        let flags = DIRECTORY;
        let from = rustix::fs::openat(found.dir, found.name, flags, Mode::empty())
            .map_err(self.failed("open a directory of the layer"))?;
        self.apply_whiteouts(from.as_fd(), found.path)
    }

    /// Removes what the directory `from` of a layer hides from the copy's directory at `path`.
    fn apply_whiteouts(&self, from: BorrowedFd<'_>, path: &[u8]) -> Result<(), Error> {
        let all = entries(from, "layer").map_err(|e| self.tree_failed(e))?;
        let hidden: Vec<_> =
            all.iter().filter_map(|e| e.name.strip_prefix(WHITEOUT_PREFIX.as_bytes())).collect();
        if hidden.is_empty() {
            return Ok(());
        }
        let to = self.at(path).map_err(self.failed("open"))?;
        let opaque = OPAQUE_MARKER.as_bytes().strip_prefix(WHITEOUT_PREFIX.as_bytes());
        if hidden.iter().any(|name| Some(*name) == opaque) {
            for entry in entries(to.as_fd(), "copy").map_err(|e| self.tree_failed(e))? {
                self.clear(&to, &entry.name)?;
            }
            return Ok(());
        }
        hidden.iter().try_for_each(|name| self.clear(&to, name))
    }

    fn clear(&self, dir: &OwnedFd, name: &[u8]) -> Result<(), Error> {
        remove_tree(dir.as_fd(), name).map_err(|e| self.tree_failed(e))
    }

    fn file(
        &self,
        found: &Found<'_>,
        to: &OwnedFd,
        links: &mut HashMap<u64, Vec<u8>>,
    ) -> Result<(), Error> {
        self.clear(to, found.name)?;
        if found.stat.st_nlink > 1 {
            if let Some(first) = links.get(&found.stat.st_ino) {
                let split = first.iter().rposition(|c| *c == b'/').map_or(0, |at| at + 1);
                let dir = &first[..split.saturating_sub(1)];
                let dir = self.at(dir).map_err(self.failed("open"))?;
                let (name, empty) = (&first[split..], AtFlags::empty());
                return linkat(&dir, name, to, found.name, empty)
                    .map_err(self.failed("make a hard link"));
            }
            links.insert(found.stat.st_ino, found.path.to_vec());
        }
        copy(found, to.as_fd(), self.ids, self.own)
    }

    fn directories(&self, layer: &OwnedFd) -> Result<(), Error> {
        let mut walk = Walk::new(layer.as_fd()).map_err(|e| self.tree_failed(e))?;
        while let Some(found) = walk.advance().map_err(|e| self.tree_failed(e))? {
            if found.file_type != FileType::Directory {
                continue;
            }
            // A layer above may have put something else here, or in the way.
            if self.at(found.path).is_err() {
                walk.skip();
                continue;
            }
            let dir = self.at(parent(&found)).map_err(self.failed("open"))?;
            describe(&found, dir.as_fd(), self.ids, self.own)?;
        }
        let top = self.at(b"").map_err(self.failed("open"))?;
        copy_attributes(layer, &top, self.own)?;
        let stat = rustix::fs::fstat(layer).map_err(self.failed("stat"))?;
        if let Some((uid, gid)) = self.ids.and_then(|ids| ids.map(stat.st_uid, stat.st_gid)) {
            let (uid, gid) = (rustix::process::Uid::from_raw(uid), gid);
            let gid = rustix::process::Gid::from_raw(gid);
            rustix::fs::fchown(&top, Some(uid), Some(gid)).map_err(self.failed("set the owner"))?;
        }
        Ok(())
    }
}

fn parent<'f>(found: &Found<'f>) -> &'f [u8] {
    &found.path[..(found.path.len() - found.name.len()).saturating_sub(1)]
}
