//! Mount attributes: the one system call that neither the standard library nor rustix has.
#![allow(unsafe_code, reason = "mount_setattr(2) has no wrapper")]

use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What to change on a mount.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attribute<'a> {
    /// Files belong to the ids that this user namespace maps theirs to.
    Mapped(BorrowedFd<'a>),
    /// Nothing can be written.
    ReadOnly,
}

/// Changes the mount at `mount`, a descriptor of its root.
pub(crate) fn set(mount: BorrowedFd<'_>, attribute: Attribute<'_>) -> Result<(), Errno> {
    let (attr_set, userns_fd) = match attribute {
        Attribute::Mapped(userns) => {
            (libc::MOUNT_ATTR_IDMAP, u64::from(userns.as_raw_fd().cast_unsigned()))
        }
        Attribute::ReadOnly => (libc::MOUNT_ATTR_RDONLY, 0),
    };
    let attr = libc::mount_attr { attr_set, attr_clr: 0, propagation: 0, userns_fd };
    // SAFETY: mount_setattr reads an empty path and `size_of` bytes of `attr`; both live until it
    // returns. It takes no ownership of the descriptors.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}
