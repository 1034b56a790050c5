//! The kind of a namespace, from its file descriptor.

use nix::sched::CloneFlags;
use std::os::fd::BorrowedFd;

/// The flag that makes a namespace of the kind of `fd`; `None` if it is not a namespace.
#[allow(unsafe_code, reason = "an ioctl that the nix crate does not wrap")]
pub(crate) fn of(fd: BorrowedFd<'_>) -> Option<CloneFlags> {
    use std::os::fd::AsRawFd;

    // NS_GET_NSTYPE of ioctl_ns(2).
    nix::ioctl_none!(get_kind, 0xb7, 0x3);

    // SAFETY: the ioctl takes no argument and reads or writes no memory of this process; the
    // descriptor is open for as long as it is borrowed.
    let flag = unsafe { get_kind(fd.as_raw_fd()) }.ok()?;
    CloneFlags::from_bits(flag)
}
