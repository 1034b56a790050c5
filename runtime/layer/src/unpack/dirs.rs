//! Directories: their times and modes are set when everything is in them.

use super::target::Target;
use crate::error::{Error, Kind, shown};
use crate::path::RelativePath;
use crate::tar::Time;
use crate::xattr::Xattrs;
use rustix::fs::XattrFlags;
use rustix::fs::{Mode, Timespec, Timestamps, fchmod, fchown, fsetxattr, fstat, futimens};
use rustix::process::{Gid, Uid};
use std::collections::HashMap;
use std::os::fd::AsFd;

/// What a directory shall be like.
#[derive(Debug)]
pub(crate) struct DirMeta {
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Xattrs,
}

/// All directories of a layer by path. `None`: the layer did not describe it.
pub(crate) struct Dirs {
    known: HashMap<Vec<u8>, Option<DirMeta>>,
    bytes: usize,
    most: usize,
}

/// What a kept directory costs beside its name.
const OVERHEAD: usize = 64;

impl Dirs {
    pub(crate) fn new(most: usize) -> Dirs {
        Dirs { known: HashMap::new(), bytes: 0, most }
    }

    /// Notes `path`; what was noted for it before is replaced.
    pub(crate) fn set(&mut self, path: &[u8], meta: Option<DirMeta>) -> Result<(), Error> {
        let attributes = meta.iter().flat_map(|meta| &meta.xattrs);
        let attributes: usize = attributes.map(|(name, value)| name.len() + value.len()).sum();
        self.bytes += path.len() + OVERHEAD + attributes;
        if self.bytes > self.most {
            let detail = format!("the names of its directories have more than {} bytes", self.most);
            return Err(Error::new(Kind::Limit, "layer", detail));
        }
        self.known.insert(path.to_vec(), meta);
        Ok(())
    }

    /// Applies everything, children before parents. Returns the block bytes of the directories
    /// and the paths that the layer did not describe.
    pub(crate) fn apply(
        self,
        target: &Target<'_>,
        skipped_xattrs: &mut u64,
    ) -> Result<(u64, Vec<RelativePath>), Error> {
        let mut all: Vec<_> = self.known.into_iter().collect();
        // A path sorts before those beneath it.
        all.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        let mut blocks = 0;
        let mut implied = Vec::new();
        for (path, meta) in all {
            let Some(dir) = target.find_exact(&path)? else { continue };
            let subject = || if path.is_empty() { ".".to_owned() } else { shown(&path) };
            let stat = fstat(&dir).map_err(|e| Error::io(subject(), "stat", e))?;
            blocks += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            match meta {
                Some(meta) => *skipped_xattrs += meta.apply(dir.as_fd(), &subject())?,
                None => {
                    let mode = Mode::from_raw_mode(0o755);
                    fchmod(&dir, mode).map_err(|e| Error::io(subject(), "set the mode", e))?;
                    implied.push(RelativePath::parse(&path, usize::MAX)?);
                }
            }
        }
        implied.sort_unstable();
        Ok((blocks, implied))
    }
}

impl DirMeta {
    fn apply(&self, dir: std::os::fd::BorrowedFd<'_>, subject: &str) -> Result<u64, Error> {
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            fchown(dir, Some(uid), Some(gid))
                .map_err(|e| Error::io(subject, "set the owner", e))?;
        }
        let mut skipped = 0;
        for (name, value) in &self.xattrs {
            let set = fsetxattr(dir, name.as_slice(), value, XattrFlags::empty());
            skipped += super::file::tolerate(set, name, subject)?;
        }
        fchmod(dir, Mode::from_raw_mode(self.mode))
            .map_err(|e| Error::io(subject, "set the mode", e))?;
        futimens(dir, &timestamps(self.mtime))
            .map_err(|e| Error::io(subject, "set the time", e))
            .map(|()| skipped)
    }
}

/// Both times of a file: a layer tells the last change only.
pub(crate) fn timestamps(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}
