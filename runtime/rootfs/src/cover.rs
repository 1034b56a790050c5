//! The root of a container without a mount namespace of its own: it inherits the runtime's
//! (config-linux.md, Namespaces). Its root is then mounted over its own directory, tied to no
//! other mount, and holds all further mounts of the container: one call takes them away, and
//! none is ever made beside it.
//!
//! The mount is known by its number, noted before it is attached: whatever else is mounted at
//! that place, by whoever makes the bundle or by a later container, is left alone.

use crate::Error;
use crate::attributes::change_all;
use crate::options::Change;
use crate::plan::Plan;
use crate::prepare::Prepared;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, open, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::path::Path;

impl Prepared {
    /// The number of the mount that [`Plan::mount`] will attach in the runtime's own mount
    /// namespace, for [`uncover`]; `None` for a container that has its own.
    pub fn cover(&self) -> Option<u64> {
        self.cover
    }
}

impl Plan {
    /// Unties the root's mount that the host will see, and notes its number.
    pub(crate) fn prepare_cover(&self, root: Option<&OwnedFd>) -> Result<Option<u64>, Error> {
        if !self.covers {
            return Ok(None);
        }
        let fail = |what: &str, errno| {
            let subject = format!("root.path: {}", self.root.to_string_lossy());
            Error::kernel(subject, what, errno)
        };
        let Some(root) = root else {
            let cause =
                "a container without a mount namespace needs the right to mount, and Linux 5.12";
            return Err(fail(cause, Errno::PERM));
        };
        // Mounted over what it still receives mounts from, it would receive itself.
        let private =
            Change { recursive: true, propagation: libc::MS_PRIVATE, ..Change::default() };
        change_all(root.as_fd(), &[private]).map_err(|fault| fail("mount_setattr", fault.errno))?;
        number(root.as_fd()).map(Some).map_err(|errno| fail("statx", errno))
    }
}

/// Takes away the root of a container that shared the runtime's mounts, with all mounts below it.
/// Says whether it was there.
///
/// # Errors
/// The kernel's, of umount2(2).
pub fn uncover(root: &Path, cover: u64) -> Result<bool, Error> {
    let fail =
        |what: &str, errno| Error::kernel(format!("root.path: {}", root.display()), what, errno);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = match open(root, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        top => top.map_err(|errno| fail("open", errno))?,
    };
    if number(top.as_fd()).map_err(|errno| fail("statx", errno))? != cover {
        return Ok(false);
    }
    // Through the descriptor: a mount made over it in the meantime is not taken for it.
    let held = format!("/proc/self/fd/{}", top.as_raw_fd());
    unmount(held, UnmountFlags::DETACH).map_err(|errno| fail("umount", errno))?;
    Ok(true)
}

/// The kernel's number of the mount that a descriptor is of: one that is never used again, where
/// the kernel has such (Linux 6.8).
fn number(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let empty = AtFlags::EMPTY_PATH;
    let found = statx(fd, c"", empty, UNIQUE)?;
    if found.stx_mask & UNIQUE.bits() != 0 {
        return Ok(found.stx_mnt_id);
    }
    let found = statx(fd, c"", empty, StatxFlags::MNT_ID)?;
    let known = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    if known { Ok(found.stx_mnt_id) } else { Err(Errno::NOSYS) }
}
