//! The calls that rustix lacks.
#![allow(unsafe_code, reason = "mount_setattr(2) has no safe wrapper")]

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

use crate::options::Change;

/// mount_setattr(2) on the mount that `fd` is the root of; `userns` is the one to map IDs by.
///
/// # Errors
/// The kernel's; `NOSYS` before Linux 5.12.
pub(crate) fn set_attributes(
    fd: BorrowedFd<'_>,
    change: &Change,
    userns: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: userns.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
    };
    let depth = if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a literal with its final zero, the structure is whole, initialised and
    // outlives the call, and the kernel is told its exact size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | depth,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
