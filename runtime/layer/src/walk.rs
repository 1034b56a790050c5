//! Walking a tree with one descriptor, however deep it is.

use crate::error::{Error, shown};
use crate::tree::entries;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A walk over everything beneath a directory, in the order of names, parents before children.
///
/// Links are never followed and other file systems mounted within never entered. Files that vanish
/// meanwhile are passed over.
#[derive(Debug)]
pub struct Walk {
    dir: OwnedFd,
    device: u64,
    levels: Vec<Level>,
    path: Vec<u8>,
    pending: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Level {
    inode: u64,
    names: Vec<Vec<u8>>,
    path_length: usize,
}

/// Something found by a [`Walk`].
#[derive(Debug)]
pub struct Found<'a> {
    /// The directory it is in.
    pub dir: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a [u8],
    /// Its path from the top of the walk.
    pub path: &'a [u8],
    /// What it is.
    pub stat: Stat,
    /// Its type.
    pub file_type: FileType,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Walk {
    /// A walk over what is beneath `top`.
    ///
    /// # Errors
    /// [`Kind::Io`](crate::Kind::Io) when it cannot be read.
    pub fn new(top: BorrowedFd<'_>) -> Result<Walk, Error> {
        let failed = |e| Error::io(".", "open", e);
        let dir = openat(top, ".", DIRECTORY, Mode::empty()).map_err(failed)?;
        let stat = fstat(&dir).map_err(failed)?;
        let mut walk =
            Walk { dir, device: stat.st_dev, levels: Vec::new(), path: Vec::new(), pending: None };
        walk.push_level(&stat)?;
        Ok(walk)
    }

    fn push_level(&mut self, stat: &Stat) -> Result<(), Error> {
        let mut names: Vec<_> = entries(self.dir.as_fd(), &shown(&self.path))?
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        names.reverse();
        self.levels.push(Level { inode: stat.st_ino, names, path_length: self.path.len() });
        Ok(())
    }

    /// The next thing, or `None` at the end. A directory is entered after it was returned; see
    /// [`Walk::skip`].
    ///
    /// # Errors
    /// [`Kind::Io`](crate::Kind::Io) when a directory cannot be read, or was moved elsewhere while
    /// it was being walked.
    pub fn advance(&mut self) -> Result<Option<Found<'_>>, Error> {
        if let Some(name) = self.pending.take() {
            self.enter(&name)?;
        }
        let (name, stat) = loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            self.path.truncate(level.path_length);
            let Some(name) = level.names.pop() else {
                self.levels.pop();
                self.climb()?;
                continue;
            };
            match statat(&self.dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => break (name, stat),
                Err(Errno::NOENT) => {}
                Err(e) => return Err(Error::io(shown(&name), "stat", e)),
            }
        };
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        let start = self.path.len();
        self.path.extend_from_slice(&name);
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Directory && stat.st_dev == self.device {
            self.pending = Some(name);
        }
        let (path, name) = (&self.path[..], &self.path[start..]);
        Ok(Some(Found { dir: self.dir.as_fd(), name, path, stat, file_type }))
    }

    /// Does not enter the directory that was returned last.
    pub fn skip(&mut self) {
        self.pending = None;
    }

    fn enter(&mut self, name: &[u8]) -> Result<(), Error> {
        match openat(&self.dir, name, DIRECTORY, Mode::empty()) {
            Ok(dir) => {
                let stat = fstat(&dir).map_err(|e| Error::io(shown(name), "stat", e))?;
                self.dir = dir;
                self.push_level(&stat)
            }
            // Removed or replaced meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(e) => Err(Error::io(shown(&self.path), "open", e)),
        }
    }

    /// Back to the level above: by "..", and only if that is where the walk came from.
    fn climb(&mut self) -> Result<(), Error> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let failed = |e| Error::io(shown(&self.path), "go back up", e);
        let up = openat(&self.dir, "..", DIRECTORY, Mode::empty()).map_err(failed)?;
        let stat = fstat(&up).map_err(failed)?;
        if stat.st_ino != level.inode || stat.st_dev != self.device {
            return Err(failed(Errno::STALE));
        }
        self.dir = up;
        Ok(())
    }
}
