//! Directories and files of the host, and mounts that are there already.

use super::{Mounted, copy_of, copy_of_open};
use crate::attributes::{attach, change, is_directory};
use crate::failure::{At, Call, Fault, Step};
use crate::options::Param;
use crate::plan::{Kind, MountStep};
use crate::proc::is_procfs;
use crate::resolve::{self, Leaf, Links};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mount::{FsPickFlags, fsconfig_reconfigure, fspick};

impl Mounted<'_> {
    /// Binds a source; the answer is the mount's root.
    pub(super) fn bind(&self, index: usize, step: &MountStep) -> Step<OwnedFd> {
        let Kind::Bind { source, inside, recursive, .. } = &step.kind else {
            return Err(Fault::new(Call::OpenTree, Errno::INVAL));
        };
        let ready = self.prepared.mounts.get(index).and_then(Option::as_ref);
        let tree = match ready {
            Some(tree) => fcntl_dupfd_cloexec(tree, 0).at(Call::OpenTree)?,
            None => match inside {
                Some(path) => {
                    let source = resolve::find(self.root(), path, Links::Inside);
                    copy_of_open(source.at(Call::OpenTree)?.as_fd(), *recursive)?
                }
                None => copy_of(source, *recursive)?,
            },
        };
        if step.place.as_bytes() == b"proc" && !is_procfs(tree.as_fd()).at(Call::Inspect)? {
            return Err(Fault::new(Call::Source, Errno::INVAL));
        }
        let (place, _) = self.place(step, || leaf_for(tree.as_fd()))?;
        // The parent has made the changes to what it has prepared.
        let changes = if ready.is_some() { &[][..] } else { &step.changes };
        attach(tree.as_fd(), place.as_fd(), changes)?;
        Ok(tree)
    }

    /// Changes the mount that is at the place already.
    pub(super) fn mount_again(&self, step: &MountStep, params: &[Param]) -> Step<OwnedFd> {
        let mount = resolve::find(self.root(), &step.place, step.links).at(Call::Resolve)?;
        if !params.is_empty() {
            let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
            let picked = fspick(&mount, c"", flags).at(Call::FsOpen)?;
            super::filesystem::configure(picked.as_fd(), params)?;
            fsconfig_reconfigure(&picked).at(Call::FsCreate)?;
        }
        step.changes.iter().try_for_each(|one| change(mount.as_fd(), one))?;
        Ok(mount)
    }
}

/// What a bind of this needs as its place.
fn leaf_for(source: BorrowedFd<'_>) -> Step<Leaf> {
    Ok(if is_directory(source)? { Leaf::Directory } else { Leaf::File })
}
