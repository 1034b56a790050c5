//! seccomp(2).
#![allow(unsafe_code, reason = "no safe wrapper for seccomp(2) takes a filter of ours")]

use crate::plan::flag;
use crate::program::Program;
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::Errno;

const SET_MODE_FILTER: libc::c_ulong = 1;

/// `struct sock_fprog`.
#[repr(C)]
struct Filter {
    length: libc::c_ushort,
    insns: *const crate::bpf::Insn,
}

/// Puts the calling thread under the filter, for good. Children inherit it.
///
/// Allocates nothing, so that a child just cloned may call it. The caller has set `no_new_privs`,
/// or has `CAP_SYS_ADMIN` in its user namespace. Returns the descriptor for notifications if the
/// filter has any; it is close-on-exec.
///
/// # Errors
/// `EACCES` without privilege, `EINVAL` for a flag or action that the kernel does not know,
/// `EBUSY` if a listener exists already, `ESRCH` if threads could not be brought under the filter
/// (`SECCOMP_FILTER_FLAG_TSYNC`).
pub fn install(program: &Program) -> Result<Option<OwnedFd>, Errno> {
    let length = libc::c_ushort::try_from(program.insns.len()).map_err(|_| Errno::INVAL)?;
    let filter = Filter { length, insns: program.insns.as_ptr() };
    // SAFETY: `filter` is laid out as `struct sock_fprog` and points to `length` instructions laid
    // out as `struct sock_filter`; the kernel only reads them, during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            libc::c_ulong::from(program.flags),
            std::ptr::from_ref(&filter),
        )
    };
    if result < 0 {
        // SAFETY: errno of this thread, always readable.
        return Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
    }
    if program.flags & flag::NEW_LISTENER != 0 {
        let raw = i32::try_from(result).map_err(|_| Errno::BADF)?;
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(raw) }));
    }
    // Without a listener, TSYNC returns the thread that could not follow.
    if result > 0 { Err(Errno::SRCH) } else { Ok(None) }
}
