//! The directory that is unpacked into, and the descriptors of its directories.

use crate::error::{Error, shown};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Open directories kept: archives go through the tree in order.
const KEPT: usize = 16;

/// The root of a layer being unpacked.
///
/// Parents are looked up by the kernel with the target as the root: links in the layer lead where
/// they would lead in a container, and never out. Last names are used with calls that do not
/// follow links.
pub(crate) struct Target<'a> {
    root: BorrowedFd<'a>,
    kept: Vec<(Vec<u8>, Rc<OwnedFd>)>,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl<'a> Target<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Target<'a> {
        Target { root, kept: Vec::with_capacity(KEPT) }
    }

    /// Something was removed or replaced: what a path means may have changed.
    pub(crate) fn forget(&mut self) {
        self.kept.clear();
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(self.root, path, DIRECTORY | flags, Mode::empty(), resolve) {
                // A rename elsewhere in the system raced with a "..": the kernel asks to retry.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// The directory at `path`; with `None` when there is none.
    pub(crate) fn find(&mut self, path: &[u8]) -> Result<Option<Rc<OwnedFd>>, Error> {
        if let Some(at) = self.kept.iter().rposition(|(kept, _)| kept == path) {
            let found = Rc::clone(&self.kept[at].1);
            let last = self.kept.len() - 1;
            self.kept.swap(at, last);
            return Ok(Some(found));
        }
        match self.open(path, OFlags::empty()) {
            Ok(dir) => Ok(Some(self.keep(path, dir))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io(shown(path), "open the directory", e)),
        }
    }

    /// The directory at `path` itself, not what a link there leads to. `None` when the path is no
    /// directory any more.
    pub(crate) fn find_exact(&self, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
        match self.open(path, OFlags::NOFOLLOW) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(Error::io(shown(path), "open the directory", e)),
        }
    }

    fn keep(&mut self, path: &[u8], dir: OwnedFd) -> Rc<OwnedFd> {
        let dir = Rc::new(dir);
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push((path.to_vec(), Rc::clone(&dir)));
        dir
    }

    /// The directory at `path`, made with its parents where missing; `made` hears of each, with
    /// its parent and path.
    pub(crate) fn find_or_make(
        &mut self,
        path: &[u8],
        made: &mut impl FnMut(BorrowedFd<'_>, &[u8]) -> Result<(), Error>,
    ) -> Result<Rc<OwnedFd>, Error> {
        if let Some(dir) = self.find(path)? {
            return Ok(dir);
        }
        // One step a name, so that deep paths cost what they are long.
        let top = self.open(b"", OFlags::empty());
        let mut dir = top.map_err(|e| Error::io(".", "open the target", e))?;
        let mut end = 0;
        for name in path.split(|c| *c == b'/') {
            end += name.len() + usize::from(end > 0);
            let so_far = &path[..end];
            let failed = |e| Error::io(shown(so_far), "open the directory", e);
            let here = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            dir = match openat2(&dir, name, DIRECTORY, Mode::empty(), here) {
                Ok(next) => next,
                // A link: where it leads is found from the root.
                Err(Errno::LOOP) => self.open(so_far, OFlags::empty()).map_err(failed)?,
                Err(Errno::NOENT) => {
                    mkdirat(&dir, name, Mode::RWXU).map_err(failed)?;
                    made(dir.as_fd(), so_far)?;
                    openat2(&dir, name, DIRECTORY, Mode::empty(), here).map_err(failed)?
                }
                Err(e) => return Err(failed(e)),
            };
        }
        Ok(self.keep(path, dir))
    }
}
